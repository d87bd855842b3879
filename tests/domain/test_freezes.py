"""Freezing the portal: who may, what it stops, how it ends, and its order with the claim."""

from __future__ import annotations

import functools
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from migrations_audit.access import MissingScope
from migrations_audit.actions import attempts, freezes, openings, runs, sweeps
from migrations_audit.actions.openings import Frozen
from migrations_audit.errors import Invalid
from migrations_audit.models import AuditEvent, Freeze, MigrationRun
from migrations_audit.models.clock import database_now
from tests import windowing
from tests.domain import racing, registering, trail
from tests.people import WORKER, Place, make_place, make_run

db = pytest.mark.django_db


def start(place: Place, run: MigrationRun) -> MigrationRun:
    assert run.plan is not None
    return runs.start(
        actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label
    )


@db
def test_an_administrator_freezes_and_nothing_starts_until_the_portal_is_thawed() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    freezes.freeze(actor=place.actor("admin"), reason="Incident 7.")

    with pytest.raises(Frozen) as refused:
        start(place, run)
    assert refused.value.code == "frozen"
    assert "The portal is frozen by admin since" in refused.value.message
    assert (
        "until an administrator thaws it: Incident 7. No run starts on any target meanwhile." in refused.value.message
    )
    event = trail.last("portal.frozen")
    assert (event.object_kind, event.facts["facts"]) == ("freeze", {"reason": "Incident 7.", "until": None})

    thawed = freezes.thaw(actor=place.actor("admin"), reason="Over.")

    assert (thawed.is_open, thawed.ended_by_name, thawed.end_reason) == (False, "admin", "Over.")
    assert trail.last("portal.thawed").facts["facts"]["reason"] == "Over."
    assert start(place, run).state == "queued"


@db
def test_a_superuser_freezes_and_thaws_without_any_membership() -> None:
    root = registering.superuser()

    freezes.freeze(actor=root, reason="Incident 7.")
    freezes.thaw(actor=root, reason="Over.")

    assert not Freeze.objects.open().exists()


@db
@pytest.mark.parametrize("name", ["dev", "dba", "owner", "operator", "auditor", "viewer", "outsider"])
def test_nobody_else_freezes_or_thaws(name: str) -> None:
    place = make_place()

    with pytest.raises(freezes.MayNotFreeze, match=f"{name} administers no environment"):
        freezes.freeze(actor=place.actor(name), reason="Incident 7.")
    trail.denied(verb="freezes.freeze", code="may_not_freeze")

    windowing.frozen(place)
    with pytest.raises(freezes.MayNotFreeze):
        freezes.thaw(actor=place.actor(name), reason="Over.")
    trail.denied(verb="freezes.thaw", code="may_not_freeze")
    assert Freeze.objects.open().exists()


@db
def test_an_inactive_administrator_a_token_and_a_worker_do_not_freeze() -> None:
    place = make_place()

    with pytest.raises(MissingScope, match="A person does it"):
        freezes.freeze(actor=place.token("admin", "run", "request"), reason="Incident 7.")
    with pytest.raises(freezes.MayNotFreeze):
        freezes.freeze(actor=WORKER, reason="Incident 7.")
    place.people["admin"].is_active = False
    place.people["admin"].save(update_fields=["is_active"])
    with pytest.raises(freezes.MayNotFreeze):
        freezes.freeze(actor=place.actor("admin"), reason="Incident 7.")

    assert not Freeze.objects.exists()


@db
def test_a_freeze_has_a_reason_and_an_end_that_lies_ahead() -> None:
    admin = make_place().actor("admin")

    with pytest.raises(Invalid, match="Give a reason"):
        freezes.freeze(actor=admin, reason=" ")
    with pytest.raises(Invalid, match="lies in the future") as refused:
        freezes.freeze(actor=admin, reason="Incident 7.", until=database_now())

    assert refused.value.field == "until"


@db
def test_the_portal_is_frozen_and_thawed_once() -> None:
    admin = make_place().actor("admin")
    with pytest.raises(freezes.NotFrozen):
        freezes.thaw(actor=admin, reason="Over.")
    freezes.freeze(actor=admin, reason="Incident 7.")

    with pytest.raises(freezes.AlreadyFrozen, match=r"Incident 7\. Thaw it first"):
        freezes.freeze(actor=admin, reason="Another.")

    freezes.thaw(actor=admin, reason="Over.")
    with pytest.raises(freezes.NotFrozen):
        freezes.thaw(actor=admin, reason="Over.")


@db
def test_the_database_holds_one_open_freeze_and_ends_it_as_a_whole() -> None:
    place = make_place()
    first = windowing.frozen(place)

    with pytest.raises(IntegrityError, match="one_freeze_at_a_time"), transaction.atomic():
        windowing.frozen(place)
    with pytest.raises(IntegrityError, match="a_freeze_is_open_until_it_is_ended"), transaction.atomic():
        Freeze.objects.filter(pk=first.pk).update(is_open=False)
    with pytest.raises(IntegrityError, match="a_freeze_ends_after_it_begins"), transaction.atomic():
        Freeze.objects.filter(pk=first.pk).update(until=first.at)


@db
def test_a_freeze_whose_time_is_over_stops_nothing_and_the_sweep_ends_it() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    now = database_now()
    windowing.frozen(place, at=now - timedelta(hours=2), until=now - timedelta(hours=1))

    assert start(place, run).state == "queued"
    sweeps.sweep(actor=WORKER)

    ended = Freeze.objects.get()
    assert (ended.is_open, ended.end_reason) == (False, "Its time was over.")
    assert trail.last("portal.thawed").facts["actor"]["name"] == WORKER.name
    sweeps.sweep(actor=WORKER)
    assert AuditEvent.objects.filter(action="portal.thawed").count() == 1


@db
def test_a_new_freeze_ends_the_one_whose_time_is_over_first() -> None:
    place = make_place()
    now = database_now()
    windowing.frozen(place, at=now - timedelta(hours=2), until=now - timedelta(hours=1))

    freezes.freeze(actor=place.actor("admin"), reason="Incident 8.")

    assert list(Freeze.objects.order_by("pk").values_list("is_open", flat=True)) == [False, True]
    assert list(AuditEvent.objects.order_by("seq").values_list("action", flat=True))[-2:] == [
        "portal.thawed",
        "portal.frozen",
    ]


@db
def test_what_runs_when_the_portal_is_frozen_runs_on() -> None:
    place = make_place()
    run = make_run(place, state="running")

    freezes.freeze(actor=place.actor("admin"), reason="Incident 7.")

    assert attempts.renew(number=run.number, epoch=run.epoch).may_work


@db
def test_a_queued_run_that_meets_a_freeze_is_put_back() -> None:
    place = make_place()
    queued = make_run(place, state="queued")
    freezes.freeze(actor=place.actor("admin"), reason="Incident 7.")

    found = attempts.claim(actor=WORKER, number=queued.number)

    assert (found.state, found.reason_code) == ("approved", "frozen")
    assert "Incident 7." in found.sentence


@db
def test_a_freeze_between_the_look_and_the_claim_leaves_the_run_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_place()
    run = make_run(place, state="queued")
    monkeypatch.setattr(openings, "is_frozen", lambda: True)  # when it looked first, there was no freeze

    with pytest.raises(attempts.NotClaimable, match="frozen at the moment"):
        attempts.claim(actor=WORKER, number=run.number)

    run.refresh_from_db()
    assert (run.state, trail.of_run(run)[-1]) == ("queued", "run.queued")


@pytest.mark.usefixtures("real_transactions")
def test_of_two_administrators_at_the_same_moment_one_freezes() -> None:
    place = make_place()
    admin, root = place.actor("admin"), registering.superuser()

    outcomes = racing.race(
        lambda: freezes.freeze(actor=admin, reason="One."), lambda: freezes.freeze(actor=root, reason="Two.")
    )

    racing.one_winner(outcomes)
    assert [error.code for error in racing.refusals(outcomes)] == ["already_frozen"]
    assert Freeze.objects.count() == AuditEvent.objects.filter(action="portal.frozen").count() == 1


@pytest.mark.usefixtures("real_transactions")
def test_no_claim_stands_in_the_audit_after_the_freeze_of_the_same_moment() -> None:
    place = make_place(requirements=[], tier="staging")
    admin = place.actor("admin")
    for _ in range(racing.ROUNDS):
        run = make_run(place, state="queued")

        racing.race(
            lambda: freezes.freeze(actor=admin, reason="Incident 7."),
            functools.partial(attempts.claim, actor=WORKER, number=run.number),
        )

        frozen = trail.last("portal.frozen").seq
        after = AuditEvent.objects.filter(seq__gt=frozen, action="run.claimed")
        assert not after.exists()
        freezes.thaw(actor=admin, reason="Over.")
        run.refresh_from_db()
        if run.state == "running":
            attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="The test ends it.")
            runs.close_unknown(actor=admin, number=run.number, reason="The test ends it.")
        elif run.state == "queued":
            runs.cancel(actor=place.actor("operator"), number=run.number)
        else:
            runs.withdraw(actor=admin, number=run.number)
