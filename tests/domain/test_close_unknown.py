"""Close without knowing: an administrator frees a target that nobody can read any more."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import attempts, moves, runs
from migrations_audit.errors import Invalid
from migrations_audit.judgement import Judgement
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState, Verdict
from tests.domain import trail
from tests.people import WORKER, Place, make_place, make_run

pytestmark = pytest.mark.django_db

UNREAD = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers at db.example.")


@pytest.fixture
def place() -> Place:
    return make_place()


@pytest.fixture
def unread(place: Place) -> MigrationRun:
    run = make_run(place, state="running")
    attempts.finish(actor=WORKER, number=run.number, epoch=run.epoch, judgement=UNREAD, observation=None)
    run.refresh_from_db()
    return run


def test_an_administrator_closes_it_with_a_reason_and_the_target_is_free(place: Place, unread: MigrationRun) -> None:
    closed = runs.close_unknown(actor=place.actor("admin"), number=unread.number, reason="The server was scrapped.")

    assert (closed.state, closed.verdict) == ("closed", "unverified")
    assert closed.sentence == (
        "Closed by admin with its outcome unknown: The server was scrapped. "
        "What was known last: Nobody answers at db.example."
    )
    assert trail.last("run.closed").facts["facts"]["reason"] == "The server was scrapped."
    make_run(place, state="queued")


def test_a_reconciliation_that_comes_later_writes_nothing(place: Place, unread: MigrationRun) -> None:
    runs.close_unknown(actor=place.actor("admin"), number=unread.number, reason="Scrapped.")

    with pytest.raises(attempts.NotClaimable):
        attempts.take_over(actor=WORKER, number=unread.number)
    with pytest.raises(attempts.LostLease):
        attempts.finish(actor=WORKER, number=unread.number, epoch=unread.epoch, judgement=UNREAD, observation=None)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_without_a_reason_nothing_is_closed(place: Place, unread: MigrationRun, reason: str) -> None:
    with pytest.raises(Invalid, match="Say why"):
        runs.close_unknown(actor=place.actor("admin"), number=unread.number, reason=reason)


def test_nobody_closes_it_while_it_is_being_read(place: Place, unread: MigrationRun) -> None:
    MigrationRun.objects.filter(number=unread.number).update(reconcile_after_at=database_now())
    attempts.take_over(actor=WORKER, number=unread.number)

    with pytest.raises(runs.AlreadyReading, match="Wait for what it finds"):
        runs.close_unknown(actor=place.actor("admin"), number=unread.number, reason="Scrapped.")


@pytest.mark.parametrize("name", ["operator", "dev", "viewer"])
def test_others_may_not(place: Place, unread: MigrationRun, name: str) -> None:
    with pytest.raises(access.MissingRole):
        runs.close_unknown(actor=place.actor(name), number=unread.number, reason="Scrapped.")

    trail.denied(verb="runs.close_unknown", code="missing_role")


@pytest.mark.parametrize("state", ["approved", "queued", "running"])
def test_a_run_whose_outcome_is_not_unknown_is_not_closed(place: Place, state: str) -> None:
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match="cannot be closed"):
        runs.close_unknown(actor=place.actor("admin"), number=run.number, reason="Scrapped.")


def test_it_is_closed_once(place: Place, unread: MigrationRun) -> None:
    runs.close_unknown(actor=place.actor("admin"), number=unread.number, reason="Scrapped.")

    with pytest.raises(moves.StaleRun):
        runs.close_unknown(actor=place.actor("admin"), number=unread.number, reason="Scrapped.")
