"""The audit chain: what it records, what the database refuses to append, and that nothing is done without it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection, transaction

from migrations_audit import access, hashchain
from migrations_audit.actions import audit, runs
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.models import AuditEvent, MigrationRun
from migrations_audit.models.clock import database_now
from tests.domain import raw, trail
from tests.people import WORKER, make_place, make_run


def forge(**changes: Any) -> AuditEvent:
    """The next event of the chain, written past the action; ``changes`` make it a bad one."""
    head = AuditEvent.objects.order_by("-seq").first()
    body = hashchain.canonical({"seq": (head.seq if head else 0) + 1})
    values: dict[str, Any] = {
        "seq": (head.seq if head else 0) + 1,
        "previous_hash": head.hash if head else hashchain.GENESIS,
        "body": body,
        "body_digest": hashchain.digest(body),
    } | changes
    values.setdefault("hash", hashchain.link(values["previous_hash"], values["body_digest"]))
    return AuditEvent.objects.create(at=database_now(), actor="x", action="x", object_kind="x", object_id="x", **values)


@pytest.mark.django_db
def test_an_event_that_follows_and_hashes_is_accepted() -> None:
    make_run(make_place())

    assert forge().seq == trail.head()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 1},
        {"seq": 1_000_000},
        {"previous_hash": hashchain.GENESIS},
        {"previous_hash": "f" * 64},
    ],
)
def test_an_event_that_does_not_follow_is_refused(changes: dict[str, Any]) -> None:
    make_run(make_place())

    with raw.refused(match="does not follow the chain"):
        forge(**changes)


@pytest.mark.django_db
@pytest.mark.parametrize("changes", [{"body": "{}"}, {"body_digest": "a" * 64}, {"hash": "a" * 64}])
def test_an_event_that_does_not_hash_is_refused(changes: dict[str, Any]) -> None:
    make_run(make_place())

    with raw.refused(match="does not hash to what it claims"):
        forge(**changes)


@pytest.mark.django_db
def test_the_first_event_follows_the_genesis_hash() -> None:
    with raw.refused(match="does not follow the chain"):
        forge(seq=2)
    with raw.refused(match="does not follow the chain"):
        forge(previous_hash="f" * 64)

    assert forge().seq == 1


@pytest.mark.django_db
def test_the_chain_of_a_whole_story_verifies() -> None:
    make_run(make_place(), state="running")

    result = trail.verify()

    assert result.holds
    assert (result.first_seq, result.last_seq) == (1, trail.head())


@pytest.mark.django_db
def test_an_event_names_actor_action_object_place_and_plan() -> None:
    place = make_place()
    run = make_run(place, state="queued")

    facts = trail.last("run.queued").facts

    operator = place.people["operator"]
    assert facts["actor"] == {"kind": "user", "name": "operator", "user_id": operator.pk, "address": "127.0.0.1"}
    assert facts["object"] == {"kind": "run", "id": str(run.number)}
    assert (facts["environment"], facts["target"]) == ("production", "market/production/main")
    assert run.plan is not None
    assert facts["facts"] == {
        "state": "queued", "operation": "upgrade", "requested": "head", "from": ["002"], "to": ["003"],
        "plan_digest": run.plan.digest,
    }  # fmt: skip


@pytest.mark.django_db
def test_the_columns_repeat_what_the_body_says() -> None:
    make_run(make_place(), state="approved")

    for event in AuditEvent.objects.all():
        body = json.loads(event.body)
        assert (event.seq, event.at.isoformat(timespec="microseconds")) == (body["seq"], body["at"])
        assert (event.actor, event.action) == (body["actor"]["name"], body["action"])
        assert {"kind": event.object_kind, "id": event.object_id} == body["object"]
        assert (event.environment, event.target) == (body["environment"], body["target"])


@pytest.mark.django_db
def test_an_event_is_recorded_only_in_a_transaction_of_its_write() -> None:
    make_place()
    connection.in_atomic_block = False  # as in a caller that forgot the transaction
    try:
        with pytest.raises(RuntimeError, match="in the transaction of the write"):
            audit.record(actor=WORKER, action="x.y", object_kind="x", object_id=1)
    finally:
        connection.in_atomic_block = True


@pytest.mark.django_db
@pytest.mark.parametrize("odd", ["a\x00b", "a\ud800b", "é \U0001f600 \u2028 '\"\\"])
def test_an_event_never_fails_for_what_somebody_typed(odd: str) -> None:
    with transaction.atomic():
        audit.record(
            actor=Actor(kind=ActorKind.COMMAND, name=odd, address=odd),
            action="x.y",
            object_kind="x",
            object_id=odd,
            facts={odd: [odd, {"deeper": (odd,)}]},
        )

    assert trail.verify().holds


@pytest.mark.django_db
def test_a_stranger_is_logged_and_does_not_grow_the_chain(caplog: pytest.LogCaptureFixture) -> None:
    place = make_place()
    before = trail.head()

    with pytest.raises(access.Hidden):
        runs.request(
            actor=Actor(kind=ActorKind.ANONYMOUS, name="a stranger", address="192.0.2.7"),
            target_id=place.target.pk,
            revision="head",
            reason="x",
        )

    assert trail.head() == before
    assert "Denied to a stranger from 192.0.2.7: runs.request" in caplog.text


@pytest.mark.usefixtures("real_transactions")
@pytest.mark.django_db(transaction=True)
def test_nothing_is_done_when_the_chain_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_place()
    monkeypatch.setattr(audit, "LOCK_PATIENCE_MS", 100)
    before = trail.head()

    with raw.another_session() as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", audit.CHAIN_LOCK)
        with pytest.raises(audit.AuditUnavailable, match="nothing was done"):
            runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="x")

    assert (MigrationRun.objects.count(), trail.head()) == (0, before)
    runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="x")


@pytest.mark.django_db
def test_waiting_for_the_chain_leaves_the_lock_timeout_of_the_transaction_as_it_was() -> None:
    raw.execute("SET LOCAL lock_timeout = '1234ms'")

    make_run(make_place())

    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("1234ms",)
