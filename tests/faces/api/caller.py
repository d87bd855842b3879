"""A program that calls the API."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from migrations_audit.actions import tokens
from tests import people

ROOT = "/api/v1/"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str]
    content: bytes

    @property
    def error(self) -> dict[str, str]:
        """The refusal, in the only shape that it may have."""
        problem: dict[str, str] = self.body["error"]
        assert {"code", "message"} <= set(problem) <= {"code", "message", "field"}
        assert all(problem.values())
        assert problem["message"].endswith(".")
        return problem

    @property
    def code(self) -> str:
        return self.error["code"]


@dataclass(frozen=True)
class Caller:
    """Whoever holds ``secret``; an empty one sends no token."""

    secret: str = ""

    @classmethod
    def of(cls, place: people.Place, person: str, *, scopes: Collection[str] = tokens.SCOPES) -> Self:
        made = tokens.create(actor=place.actor(person), name="pipeline", scopes=scopes, days=1)
        return cls(made.secret)

    def get(self, path: str, **query: Any) -> Answer:
        return self.send("GET", path, query=query)

    def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return self.send("POST", path, body=body, headers=headers)

    def send(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request. ``body`` as JSON; bytes and text go as they are."""
        sent = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        response = Client().generic(
            method,
            ROOT + path,
            "" if body is None else data,
            content_type="application/json",
            query_params=query,
            headers=sent | (headers or {}),
        )
        streamed = getattr(response, "streaming_content", None)
        content = b"".join(streamed) if streamed is not None else response.content
        is_json = response.headers.get("Content-Type", "").partition(";")[0] == "application/json"
        return Answer(response.status_code, json.loads(content) if is_json else None, dict(response.headers), content)


def addresses() -> list[str]:
    """Every address of the API, with numbers where it takes some."""
    found = []

    def walk(patterns: list[Any], prefix: str) -> None:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern):
                found.append(route)

    walk(get_resolver("migrations_audit.api.urls").url_patterns, "")
    filled = (
        route.replace("^/", "")
        .replace("<int:target_id>", "1")
        .replace("<int:number>", "1")
        .replace("<digest>", "0" * 64)
        for route in found
    )
    return sorted({route for route in filled if route})
