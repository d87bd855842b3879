"""The API's description: for programs as openapi.json, for people as a page of the portal without any script."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from migrations_audit.api import schemas
from migrations_audit.api.portal import api


@dataclass(frozen=True)
class Field:
    """One input or one property."""

    name: str
    where: str
    kind: str
    is_required: bool
    default: str
    words: str


@dataclass(frozen=True)
class Endpoint:
    anchor: str
    method: str
    path: str
    summary: str
    words: str
    group: str
    needs_token: bool
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str], ...]


def openapi(request: HttpRequest) -> HttpResponse:
    """The schema. It is public: it holds no data, and generators of clients have no token."""
    if request.method != "GET":
        return HttpResponse(status=405, headers={"Allow": "GET"})
    return JsonResponse(_schema())


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """What openapi.json says, for people who are signed in."""
    schema = _schema()
    components: Mapping[str, Any] = schema["components"]["schemas"]
    endpoints = [
        _endpoint(method, path, operation, components)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    groups: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.group, []).append(endpoint)
    context = {
        **admin.site.each_context(request),
        "title": "API",
        "description": schema["info"]["description"],
        "groups": groups,
        "objects": [
            (name, item.get("description", ""), _properties(item)) for name, item in sorted(components.items())
        ],
    }
    return render(request, "migrations_audit/api_docs.html", context)


@functools.cache
def _schema() -> dict[str, Any]:
    """The schema of django-ninja, with the one shape of every refusal."""
    schema = dict(api.get_openapi_schema(path_prefix=reverse("api:docs").removesuffix("docs")))
    refusal = schemas.Refusal.model_json_schema(ref_template="#/components/schemas/{model}")
    schema["components"]["schemas"] |= refusal.pop("$defs") | {"Refusal": refusal}
    answer = {
        "description": "A refusal",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
    }
    for methods in schema["paths"].values():
        for operation in methods.values():
            operation["responses"]["default"] = answer
    return schema


def _endpoint(method: str, path: str, operation: Mapping[str, Any], components: Mapping[str, Any]) -> Endpoint:
    fields = [
        _field(
            item["name"], item["schema"] | {"description": item.get("description", "")}, item["in"], item["required"]
        )
        for item in operation["parameters"]
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        named = next((each for each in (body, *body.get("anyOf", ())) if "$ref" in each), body)
        fields += _properties(components[_name(named["$ref"])] if "$ref" in named else named, where="body")
    return Endpoint(
        anchor=operation["operationId"].rpartition("_api_")[2],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        words=operation.get("description", ""),
        group=operation["tags"][0],
        needs_token=bool(operation.get("security")),
        fields=tuple(fields),
        answers=tuple(
            (str(status), _kind(answer.get("content", {}).get("application/json", {}).get("schema", {})))
            for status, answer in operation["responses"].items()
        ),
    )


def _properties(item: Mapping[str, Any], *, where: str = "") -> list[Field]:
    required = item.get("required", ())
    return [_field(name, each, where, name in required) for name, each in item.get("properties", {}).items()]


def _field(name: str, item: Mapping[str, Any], where: str, is_required: bool) -> Field:
    default = item.get("default")
    return Field(
        name=name,
        where=where,
        kind=_kind(item),
        is_required=is_required,
        default="" if default in (None, "") else str(default),
        words=item.get("description", ""),
    )


def _kind(item: Mapping[str, Any]) -> str:
    """A type for people: ``text``, ``list of Run``, ``one of a, b``."""
    if "$ref" in item:
        return _name(item["$ref"])
    if alternatives := item.get("anyOf") or item.get("allOf"):
        return " or ".join(dict.fromkeys(_kind(each) for each in alternatives))
    if "enum" in item:
        return f"one of {', '.join(str(value) for value in item['enum'])}"
    if item.get("type") == "array":
        return f"list of {_kind(item.get('items', {}))}"
    names = {
        "string": "text",
        "integer": "whole number",
        "object": "object",
        "boolean": "true or false",
        "null": "null",
    }
    kind = names.get(str(item.get("type")), str(item.get("type", "")))
    return "time" if item.get("format") == "date-time" else kind


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
