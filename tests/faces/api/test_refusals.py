"""Every refusal has one shape and a sentence, and none tells what it should not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from django.db import OperationalError
from django.test import Client

from migrations_audit.actions import audit, evidence, runs, tokens
from migrations_audit.api import problems
from migrations_audit.models import ApiToken
from migrations_audit.models.clock import database_now
from tests import people
from tests.faces.api.caller import ROOT, Answer, Caller, addresses

PUBLIC = {"openapi.json", "audit/verifier"}


def test_the_list_of_addresses_is_not_empty() -> None:
    assert {"runs/1/start", "targets/1/observe", "gate", "audit/export"} <= set(addresses())


@pytest.mark.django_db
def test_no_address_but_the_public_ones_answers_a_stranger() -> None:
    for address, method in itertools.product(set(addresses()) - PUBLIC - {"docs"}, ("GET", "POST")):
        answer = Caller().send(method, address, body={} if method == "POST" else None)
        assert answer.status in (401, 405), address
        assert answer.error


@pytest.mark.django_db
def test_the_page_about_the_api_sends_a_stranger_to_the_login() -> None:
    assert Client().get(f"{ROOT}docs").status_code == 302


def test_a_session_is_not_enough(place: people.Place) -> None:
    client = Client()
    client.force_login(place.people["dev"])

    assert client.get(f"{ROOT}targets").status_code == 401
    assert client.post(f"{ROOT}runs", data="{}", content_type="application/json").status_code == 401


def dead(place: people.Place, how: str) -> Caller:
    """A caller whose token does not count any more, or never did."""
    caller = Caller.of(place, "dev")
    match how:
        case "expired":
            ApiToken.objects.update(expires_at=database_now())
        case "revoked":
            tokens.revoke(actor=place.actor("dev"), token_id=ApiToken.objects.get().pk)
        case "owner deactivated":
            place.people["dev"].is_active = False
            place.people["dev"].save(update_fields=["is_active"])
        case "altered":
            return Caller(caller.secret[:-2] + "xx")
        case "unknown":
            return Caller("ops_0123456789_" + "a" * 43)
        case "another scheme":
            return Caller("")
    return caller


@pytest.mark.parametrize("how", ["expired", "revoked", "owner deactivated", "altered", "unknown", "another scheme"])
def test_a_token_that_does_not_count_gets_the_same_words_whatever_is_wrong(place: people.Place, how: str) -> None:
    answer = dead(place, how).get("targets")

    assert answer.status == 401
    assert answer.error == {"code": "unauthorized", "message": problems.UNAUTHORIZED}
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "ops_x", "Bearer a b", "Bearer \x00", "Bearer ü"]
)
@pytest.mark.django_db
def test_an_odd_authorization_header_is_refused(header: str) -> None:
    answer = Client().get(f"{ROOT}targets", headers={"Authorization": header})

    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["token", "access_token", "API_KEY", "anything"])
def test_a_token_in_the_address_is_refused_even_beside_a_good_one(dev: Caller, name: str) -> None:
    without_header = Caller().get("targets", **{name: dev.secret})
    with_header = dev.get("targets", **{name: dev.secret})

    assert (without_header.status, without_header.code) == (403, "token_in_address")
    assert (with_header.status, with_header.code) == (403, "token_in_address")
    assert dev.secret.encode() not in with_header.content


ODD: dict[str, Callable[[Caller], tuple[Answer, int]]] = {
    "an address that is not there": lambda caller: (caller.get("nowhere"), 404),
    "an id that is not a number": lambda caller: (caller.get("targets/abc"), 404),
    "an id beyond every number": lambda caller: (caller.get(f"targets/{10**40}"), 404),
    "a run that is not there": lambda caller: (caller.get("runs/999999"), 404),
    "a run beyond every number": lambda caller: (caller.post(f"runs/{10**40}/cancel"), 404),
    "a plan that is not there": lambda caller: (caller.get(f"plans/{'0' * 64}"), 404),
    "a plan with an odd name": lambda caller: (caller.get("plans/%00"), 404),
    "a wrong method": lambda caller: (caller.send("DELETE", "runs"), 405),
    "a method that nobody has": lambda caller: (caller.send("BREW", "targets"), 405),
    "a body that is not JSON": lambda caller: (caller.post("runs", "{"), 400),
    "a body in another encoding": lambda caller: (caller.post("runs", b'{"a": "\xff"}'), 400),
    "a body that is a list": lambda caller: (caller.post("runs", []), 422),
    "a body of one word": lambda caller: (caller.post("runs", "null"), 422),
    "no body": lambda caller: (caller.post("runs"), 422),
    "an empty body": lambda caller: (caller.post("runs", {}), 422),
    "a body nested without end": lambda caller: (caller.post("runs", "[" * 100_000), 400),
    "a body that is too large": lambda caller: (caller.post("runs", "x" * 3_000_000), 413),
    "a number where text belongs": lambda caller: (caller.post("runs", {"target": 1, "revision": 2, "reason": 3}), 422),
    "a lone surrogate": lambda caller: (
        caller.post("runs", '{"target": "\\ud800", "revision": "head", "reason": "x"}'),
        422,
    ),
    "a digest that is none": lambda caller: (caller.post("runs/1/start", {"digest": "abc"}), 422),
    "a limit of nothing": lambda caller: (caller.get("targets", limit=0), 422),
    "a limit beyond the most": lambda caller: (caller.get("runs", limit=10_000), 422),
    "a parameter that is not there": lambda caller: (caller.get("runs", enviroment="production"), 422),
    "a parameter given twice": lambda caller: (caller.get("gate", target=["a/b/c", "d/e/f"]), 422),
    "a state that is not there": lambda caller: (caller.get("runs", state="done"), 422),
    "a NUL in a parameter": lambda caller: (caller.get("gate", target="a\x00/b/c"), 422),
    "a NUL in a body": lambda caller: (caller.post("runs", {"target": "\x00", "revision": "head", "reason": "x"}), 422),
    "an export in another form": lambda caller: (caller.get("audit/export", form="xlsx"), 422),
    "a time without a zone": lambda caller: (caller.get("audit/export", since="2026-01-01T00:00:00"), 422),
    "a time that is none": lambda caller: (caller.get("audit/export", until="yesterday"), 422),
    "a run beyond every filter": lambda caller: (caller.get("audit/export", run=10**40), 422),
}


@pytest.mark.parametrize("what", ODD)
def test_the_shape_of_a_refusal_is_one_for(dev: Caller, what: str) -> None:
    answer, status = ODD[what](dev)

    assert answer.status == status
    assert set(answer.body) == {"error"}
    assert answer.error
    assert b"Traceback" not in answer.content


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"revision": "head", "reason": "x"}, "target"),
        ({"target": "a/b/c", "revision": "head", "reason": "x", "state": "approved"}, "state"),
        ({"target": "a/b/c", "revision": "head", "reason": "x", "operation": "stamp"}, "operation"),
    ],
)
def test_a_refused_input_is_named(dev: Caller, body: dict[str, str], field: str) -> None:
    assert dev.post("runs", body).error["field"] == field


def test_a_wrong_method_names_those_that_there_are(dev: Caller) -> None:
    assert dev.send("PUT", "runs").headers["Allow"] == "GET, POST"


def test_a_fault_of_ours_answers_with_a_number_and_nothing_else(
    dev: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("postgresql://portal:hunter2@db/portal")

    monkeypatch.setattr(evidence, "request_observation", fail)
    answer = dev.post("targets/1/observe")

    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"hunter2" not in answer.content
    assert b"ZeroDivision" not in answer.content
    assert answer.headers["X-Request-Id"] in answer.error["message"]
    assert answer.headers["X-Request-Id"] in caplog.text


def test_a_database_that_is_gone_answers_503(dev: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(runs, "cancel", fail)
    answer = dev.post("runs/1/cancel")

    assert (answer.status, answer.code) == (503, "portal_unavailable")
    assert b"unexpectedly" not in answer.content


def test_an_audit_that_cannot_be_written_answers_503(dev: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise audit.AuditUnavailable

    monkeypatch.setattr(runs, "cancel", fail)

    assert dev.post("runs/1/cancel").code == "audit_unavailable"


def test_no_answer_is_kept_in_a_cache(dev: Caller) -> None:
    for path in ("targets", "nowhere", "gate", "openapi.json", "audit/verifier"):
        assert dev.get(path).headers["Cache-Control"] == "no-store"
