"""openapi.json and the page that shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests import people
from tests.faces.api.caller import ROOT, Caller


@pytest.fixture
def schema(db: None) -> dict[str, Any]:
    described: dict[str, Any] = Caller().get("openapi.json").body
    return described


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_schema_lists_the_endpoints(schema: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(schema)} == {
        ("GET", "/api/v1/targets"),
        ("GET", "/api/v1/targets/{target_id}"),
        ("GET", "/api/v1/targets/{target_id}/observations"),
        ("POST", "/api/v1/targets/{target_id}/observe"),
        ("GET", "/api/v1/gate"),
        ("GET", "/api/v1/plans/{digest}"),
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs"),
        ("GET", "/api/v1/runs/{number}"),
        ("POST", "/api/v1/runs/{number}/start"),
        ("POST", "/api/v1/runs/{number}/schedule"),
        ("POST", "/api/v1/runs/{number}/unschedule"),
        ("POST", "/api/v1/runs/{number}/cancel"),
        ("POST", "/api/v1/runs/{number}/verify-again"),
        ("POST", "/api/v1/runs/{number}/withdraw"),
        ("POST", "/api/v1/runs/{number}/rehearse"),
        ("GET", "/api/v1/runs/{number}/rehearsals"),
        ("GET", "/api/v1/runs/{number}/log"),
        ("GET", "/api/v1/runs/{number}/findings"),
        ("GET", "/api/v1/runs/{number}/evidence"),
        ("GET", "/api/v1/freeze"),
        ("GET", "/api/v1/audit/export"),
        ("GET", "/api/v1/audit/verifier"),
    }


def test_every_endpoint_but_the_verifier_says_that_it_needs_a_token(schema: dict[str, Any]) -> None:
    open_ones = [path for _, path, operation in operations(schema) if not operation.get("security")]

    assert open_ones == ["/api/v1/audit/verifier"]
    assert schema["components"]["securitySchemes"]["Bearer"]["scheme"] == "bearer"


def test_every_endpoint_describes_its_refusals(schema: dict[str, Any]) -> None:
    for _, path, operation in operations(schema):
        answer = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert answer == {"$ref": "#/components/schemas/Refusal"}, path


def test_every_reference_in_the_schema_leads_somewhere(schema: dict[str, Any]) -> None:
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))

    assert references <= set(schema["components"]["schemas"])
    assert {"Run", "Gate", "ClosedGate", "Refusal", "Problem"} <= references


def test_the_page_needs_no_script_and_no_other_site(place: people.Place) -> None:
    client = Client()
    client.force_login(place.people["dev"])

    response = client.get(f"{ROOT}docs")
    page = response.content.decode()
    own = page[page.index('id="endpoints"') :]

    assert response.status_code == 200
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert "<script" not in own
    assert "style=" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_the_page_shows_every_endpoint_with_its_inputs(place: people.Place, schema: dict[str, Any]) -> None:
    client = Client()
    client.force_login(place.people["dev"])

    page = client.get(f"{ROOT}docs").content.decode()

    for method, path, operation in operations(schema):
        assert f"<code>{method} {path}</code>" in page
        assert operation["summary"] in page
    for name in ("expect", "reason", "rolls_back", "digest", "comment", "since"):
        assert f"<code>{name}</code>" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_page_is_only_shown(place: people.Place) -> None:
    client = Client()
    client.force_login(place.people["dev"])

    assert client.post(f"{ROOT}docs").status_code == 405


def test_docs_api_md_lists_the_same_endpoints(schema: dict[str, Any]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")

    listed = set(re.findall(r"^\| `(GET|POST) (/api/v1/[^`]+)`", page, flags=re.MULTILINE))

    assert listed == {(method, path) for method, path, _ in operations(schema)}
