"""Verify again: a person has the target of a run of unknown outcome read before its time."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import access, dispatch
from migrations_audit.actions import attempts, moves, runs
from migrations_audit.judgement import Judgement
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState, Verdict
from tests.domain import trail
from tests.people import WORKER, Place, make_place, make_run

pytestmark = pytest.mark.django_db

UNREAD = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers.")


@pytest.fixture
def place() -> Place:
    return make_place()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dispatch.Wake, dict[str, Any]]]:
    messages: list[tuple[dispatch.Wake, dict[str, Any]]] = []
    monkeypatch.setattr(dispatch, "after_commit", lambda wake, **values: messages.append((wake, values)))
    return messages


def unread(place: Place) -> MigrationRun:
    """A run whose target could not be read; the next try lies some seconds ahead."""
    run = make_run(place, state="running")
    attempts.finish(actor=WORKER, number=run.number, epoch=run.epoch, judgement=UNREAD, observation=None)
    run.refresh_from_db()
    return run


@pytest.mark.parametrize("name", ["operator", "dev"])
def test_an_operator_or_the_requester_has_it_read_at_once(
    place: Place, sent: list[tuple[dispatch.Wake, dict[str, Any]]], name: str
) -> None:
    run = unread(place)
    sent.clear()

    runs.verify_again(actor=place.actor(name), number=run.number)

    assert sent == [(dispatch.Wake.RECONCILE, {"queue": "target-production", "number": run.number})]
    assert trail.of_run(run)[-1] == "run.verify_requested"
    assert attempts.take_over(actor=WORKER, number=run.number).reconcile_after_at is not None


def test_it_is_asked_once(place: Place) -> None:
    run = unread(place)
    runs.verify_again(actor=place.actor("operator"), number=run.number)

    with pytest.raises(runs.AlreadyReading, match="waits for a worker of target-production already"):
        runs.verify_again(actor=place.actor("operator"), number=run.number)

    assert trail.of_run(run).count("run.verify_requested") == 1


def test_it_is_not_asked_while_a_worker_reads(place: Place) -> None:
    run = unread(place)
    MigrationRun.objects.filter(number=run.number).update(reconcile_after_at=database_now())
    attempts.take_over(actor=WORKER, number=run.number)

    with pytest.raises(runs.AlreadyReading, match="worker@test is fencing and reading"):
        runs.verify_again(actor=place.actor("operator"), number=run.number)


@pytest.mark.parametrize("state", ["approved", "queued", "running"])
def test_only_an_unknown_outcome_is_verified_again(place: Place, state: str) -> None:
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match="cannot be verified again"):
        runs.verify_again(actor=place.actor("operator"), number=run.number)


def test_a_viewer_may_not_and_the_attempt_is_recorded(place: Place) -> None:
    run = unread(place)

    with pytest.raises(access.MissingRole):
        runs.verify_again(actor=place.actor("viewer"), number=run.number)

    trail.denied(verb="runs.verify_again", code="missing_role")
