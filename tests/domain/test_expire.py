"""Requests and approvals that nobody started in time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.actions import runs, sweeps
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from tests.domain import trail
from tests.people import WORKER, make_place, make_run

pytestmark = pytest.mark.django_db


def let_time_pass(run: MigrationRun) -> None:
    MigrationRun.objects.filter(number=run.number).update(expires_at=database_now() - timedelta(seconds=1))


@pytest.mark.parametrize("state", ["awaiting_approval", "approved"])
def test_an_overdue_run_expires(state: str) -> None:
    run = make_run(make_place(), state=state)
    let_time_pass(run)

    assert sweeps.sweep(actor=WORKER)

    run.refresh_from_db()
    assert run.state == "expired"
    assert run.sentence.startswith("Expired at ")
    assert run.finished_at is not None
    assert trail.of_run(run)[-1] == "run.expired"


def test_a_second_sweep_expires_nothing_again() -> None:
    run = make_run(make_place(), state="approved")
    let_time_pass(run)
    sweeps.sweep(actor=WORKER)

    sweeps.sweep(actor=WORKER)

    assert trail.of_run(run).count("run.expired") == 1


@pytest.mark.parametrize("state", ["awaiting_approval", "approved"])
def test_a_run_that_is_not_overdue_stays(state: str) -> None:
    run = make_run(make_place(), state=state)

    sweeps.sweep(actor=WORKER)

    run.refresh_from_db()
    assert run.state == state


@pytest.mark.parametrize("state", ["requested", "planning", "queued", "running"])
def test_only_what_waits_for_people_expires(state: str) -> None:
    run = make_run(make_place(), state=state)
    let_time_pass(run)

    sweeps.sweep(actor=WORKER)

    run.refresh_from_db()
    assert run.state == state


def test_a_run_whose_time_was_prolonged_after_the_sweep_had_listed_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(make_place(), state="approved")
    monkeypatch.setattr(sweeps, "_overdue", lambda *_: [run.number])

    sweeps.sweep(actor=WORKER)

    run.refresh_from_db()
    assert run.state == "approved"


def test_an_expired_request_is_made_again() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    let_time_pass(run)
    sweeps.sweep(actor=WORKER)

    again = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Again.")

    assert again.state == "requested"
