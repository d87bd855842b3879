"""What a token may see and do: its owner's rights, within its scopes, and never a decision."""

from __future__ import annotations

import itertools
import json

import pytest
from django.test import Client

from migrations_audit.actions import tokens
from migrations_audit.models import Approval, MigrationRun
from tests import people
from tests.domain import trail
from tests.faces.api.caller import Caller, addresses


@pytest.mark.parametrize(
    "path",
    [
        "targets/{target}",
        "targets/{target}/observations",
        "runs/{run}",
        "runs/{run}/log",
        "runs/{run}/evidence",
        "runs/{run}/findings",
        "runs/{run}/findings?format=sarif",
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


@pytest.mark.parametrize("path", ["start", "cancel", "verify-again", "withdraw"])
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
        ("run", "POST", "runs/{run}/verify-again"),
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


@pytest.mark.parametrize(
    "path", ["runs/1/start", "runs/1/cancel", "runs/1/verify-again", "runs/1/withdraw", "targets/1/observe"]
)
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
