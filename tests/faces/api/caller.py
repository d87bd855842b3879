"""A program that calls the API."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from django.test import Client

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
