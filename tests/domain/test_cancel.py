"""Cancelling a queued or a running run."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import attempts, moves, runs
from migrations_audit.states import Phase
from tests.domain import trail
from tests.people import WORKER, make_place, make_run

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["operator", "dev"])
def test_an_operator_or_the_requester_cancels_a_queued_run_at_once(name: str) -> None:
    place = make_place()
    run = make_run(place, state="queued")

    cancelled = runs.cancel(actor=place.actor(name), number=run.number)

    assert (cancelled.state, cancelled.sentence) == ("cancelled", f"Cancelled by {name} before it started.")
    assert cancelled.finished_at is not None
    assert trail.of_run(run)[-1] == "run.cancelled"


def test_a_running_run_is_asked_to_stop_and_goes_on_being_running() -> None:
    place = make_place()
    run = make_run(place, state="running")

    asked = runs.cancel(actor=place.actor("operator"), number=run.number)

    asked.refresh_from_db()
    assert (asked.state, asked.cancel_requested_by) == ("running", "operator")
    assert asked.cancel_requested_at is not None
    assert trail.last("run.cancel_requested").facts["facts"]["phase"] == "preflight"


def test_a_running_run_is_asked_once() -> None:
    place = make_place()
    run = make_run(place, state="running")
    runs.cancel(actor=place.actor("dev"), number=run.number)

    with pytest.raises(runs.AlreadyCancelling, match=f"dev asked Run {run.number} .* to cancel at"):
        runs.cancel(actor=place.actor("operator"), number=run.number)

    assert trail.of_run(run).count("run.cancel_requested") == 1


def test_it_is_too_late_while_the_target_is_read_back() -> None:
    place = make_place()
    run = make_run(place, state="running")
    attempts.enter_phase(actor=WORKER, number=run.number, epoch=run.epoch, phase=Phase.VERIFY, sentence="Reading.")

    with pytest.raises(runs.TooLate, match="already reading the target back"):
        runs.cancel(actor=place.actor("operator"), number=run.number)


@pytest.mark.parametrize("state", ["requested", "planning", "awaiting_approval", "approved"])
def test_a_run_that_was_not_started_is_withdrawn_and_not_cancelled(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match="cannot be cancelled"):
        runs.cancel(actor=place.actor("operator"), number=run.number)


def test_a_cancelled_run_is_not_cancelled_again() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    runs.cancel(actor=place.actor("operator"), number=run.number)

    with pytest.raises(moves.StaleRun, match="Cancelled by operator before it started"):
        runs.cancel(actor=place.actor("operator"), number=run.number)


@pytest.mark.parametrize("name", ["viewer", "dba", "auditor", "admin"])
def test_nobody_else_cancels(name: str) -> None:
    place = make_place()
    run = make_run(place, state="queued")

    with pytest.raises(access.MissingRole):
        runs.cancel(actor=place.actor(name), number=run.number)

    trail.denied(verb="runs.cancel", code="missing_role")


def test_an_outsider_and_a_worker_do_not_cancel() -> None:
    place = make_place()
    run = make_run(place, state="queued")

    for actor in (place.actor("outsider"), WORKER):
        with pytest.raises(access.Hidden):
            runs.cancel(actor=actor, number=run.number)


def test_a_token_cancels_only_as_an_operator_within_its_scope() -> None:
    place = make_place()
    run = make_run(place, state="queued")

    with pytest.raises(access.MissingRole):
        runs.cancel(actor=place.token("dev", "request", "run"), number=run.number)
    with pytest.raises(access.MissingScope):
        runs.cancel(actor=place.token("operator", "request"), number=run.number)

    assert runs.cancel(actor=place.token("operator", "run"), number=run.number).state == "cancelled"
