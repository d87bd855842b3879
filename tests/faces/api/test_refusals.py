"""Every refusal has one shape and a sentence, and none tells what it should not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from migrations_audit.actions import audit, evidence, runs, tokens
from migrations_audit.api import problems
from migrations_audit.models import ApiToken, Approval, MigrationRun
from migrations_audit.models.clock import database_now
from tests import people
from tests.domain import trail
from tests.faces.api.caller import ROOT, Answer, Caller

PUBLIC = {"openapi.json", "audit/verifier"}


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


@pytest.mark.parametrize(
    "path",
    [
        "targets/{target}",
        "targets/{target}/observations",
        "runs/{run}",
        "runs/{run}/log",
        "runs/{run}/evidence",
        "plans/{plan}",
        "gate?target={target}",
        "gate?target=market/production/main",
        "runs?target={target}",
    ],
)
def test_what_is_hidden_answers_like_what_is_not_there_and_leaves_an_event(
    place: people.Place, outsider: Caller, path: str
) -> None:
    run = people.make_run(place, state="approved")
    plan = run.plan
    assert plan is not None
    there = path.format(target=place.target.pk, run=run.number, plan=plan.digest)
    absent = path.format(target=10**9, run=10**9, plan="f" * 64).replace("market/production/main", "a/b/c")

    hidden, missing = outsider.get(there), outsider.get(absent)

    assert hidden.status == missing.status == 404
    assert hidden.error == missing.error
    assert trail.last("access.denied").facts["actor"]["kind"] == "token"


def test_lists_hold_nothing_that_is_hidden(place: people.Place, outsider: Caller) -> None:
    people.make_run(place)

    assert outsider.get("targets").body["items"] == []
    assert outsider.get("runs").body["items"] == []


@pytest.mark.parametrize("path", ["start", "cancel", "withdraw"])
def test_what_is_hidden_cannot_be_changed(place: people.Place, outsider: Caller, path: str) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None
    body = {"digest": run.plan.digest} if path == "start" else {}

    hidden, missing = outsider.post(f"runs/{run.number}/{path}", body), outsider.post(f"runs/{10**9}/{path}", body)

    assert hidden.status == missing.status == 404
    assert hidden.error == missing.error
    assert MigrationRun.objects.get(number=run.number).state == "approved"


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "GET", "targets"),
        ("read", "GET", "targets/{target}"),
        ("read", "GET", "targets/{target}/observations"),
        ("read", "POST", "targets/{target}/observe"),
        ("read", "GET", "runs"),
        ("read", "GET", "runs/{run}"),
        ("read", "GET", "runs/{run}/log"),
        ("read", "GET", "runs/{run}/evidence"),
        ("read", "GET", "plans/{plan}"),
        ("read", "GET", "gate?target={target}"),
        ("request", "POST", "runs/{run}/withdraw"),
        ("run", "POST", "runs/{run}/start"),
        ("run", "POST", "runs/{run}/cancel"),
        ("export", "GET", "audit/export"),
    ],
)
def test_a_token_without_the_scope_is_refused(place: people.Place, scope: str, method: str, path: str) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None
    for person in ("dev", "operator", "auditor"):
        place.people["dev"].groups.add(*place.people[person].groups.all())
    others = [name for name in tokens.SCOPES if name != scope]
    there = path.format(target=place.target.pk, run=run.number, plan=run.plan.digest)

    body = {"digest": run.plan.digest} if path.endswith("start") else None
    answer = Caller.of(place, "dev", scopes=others).send(method, there, body=body)

    assert (answer.status, answer.code) == (403, "missing_scope")
    assert scope in answer.error["message"]


def test_a_token_cannot_decide_by_any_address(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")
    assert run.plan is not None
    caller = Caller.of(place, "dba")
    guessed = [
        f"runs/{run.number}/{verb}" for verb in ("approve", "approvals", "approval", "reject", "decide", "decisions")
    ]
    known = [each.replace("/1/", f"/{run.number}/") for each in addresses()]
    body = {"digest": run.plan.digest, "decision": "approve", "comment": "From a token.", "state": "approved"}

    for path, method in itertools.product({*guessed, *known}, ("POST", "PUT", "PATCH", "DELETE", "GET")):
        caller.send(method, path, body=body)
        for page in ("approve", "reject"):
            Client().post(f"/runs/{run.number}/{page}", body, headers={"Authorization": f"Bearer {caller.secret}"})

    assert not Approval.objects.exists()
    assert MigrationRun.objects.get(number=run.number).state == "awaiting_approval"


def test_no_address_of_the_api_is_about_deciding() -> None:
    assert not [
        each for each in addresses() if any(verb in each for verb in ("approv", "reject", "decision", "decide"))
    ]


MASS = {
    "state": "approved",
    "status": "verified",
    "verdict": "verified",
    "approved_by": "dba",
    "evidence": [],
    "epoch": 7,
    "requester": "dba",
    "requester_id": 1,
    "is_production": False,
    "requested_at": "2020-01-01T00:00:00Z",
    "number": 1,
    "plan": 1,
}


@pytest.mark.parametrize("name", MASS)
def test_a_field_that_nobody_may_set_is_refused_and_no_run_is_made(place: people.Place, dev: Caller, name: str) -> None:
    body = {"target": place.target.label, "revision": "head", "reason": "x", name: MASS[name]}

    answer = dev.post("runs", body)

    assert (answer.status, answer.error["field"]) == (422, name)
    assert not MigrationRun.objects.exists()


@pytest.mark.parametrize("path", ["runs/1/start", "runs/1/cancel", "runs/1/withdraw", "targets/1/observe"])
def test_every_body_refuses_fields_that_it_does_not_know(dev: Caller, path: str) -> None:
    answer = dev.post(
        path, {"digest": "0" * 64, "state": "applied"} if path.endswith("start") else {"state": "applied"}
    )

    assert answer.status == 422


def test_nothing_that_the_api_answers_holds_a_secret(place: people.Place) -> None:
    place.target.url_reference = "sealed:gAAAA" + "secret" * 20
    place.target.save(update_fields=["url_reference"])
    run = people.make_run(place, state="approved")
    assert run.plan is not None
    caller = Caller.of(place, "admin")
    paths = [
        "targets",
        f"targets/{place.target.pk}",
        f"targets/{place.target.pk}/observations",
        "runs",
        f"runs/{run.number}",
        f"runs/{run.number}/log",
        f"runs/{run.number}/evidence",
        f"plans/{run.plan.digest}",
        f"gate?target={place.target.pk}",
        "audit/export",
        "audit/export?form=csv",
    ]

    told = b"".join(caller.get(path).content for path in paths)

    assert b"secretsecret" not in told
    assert b"gAAAA" not in told
    assert people.PASSWORD.encode() not in told
    assert caller.secret.encode() not in told
    assert b"sealed value" in told
    assert json.loads(caller.get("targets").content)["items"]
