"""The page of a run whose outcome is unknown: what is known, what is tried and when, and what a person can do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.actions import attempts
from migrations_audit.judgement import Judgement
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import Phase, RunState, Verdict
from tests import people
from tests.faces.web.visitor import VisitorOf

pytestmark = pytest.mark.django_db

UNREAD = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers at db.example.")


@pytest.fixture
def run(place: people.Place) -> MigrationRun:
    """A run that was lost while it executed, and whose target could not be read since."""
    made = people.make_run(place, state="running")
    attempts.enter_phase(
        actor=people.WORKER, number=made.number, epoch=made.epoch, phase=Phase.EXECUTE, sentence="Executing."
    )
    attempts.finish(actor=people.WORKER, number=made.number, epoch=made.epoch, judgement=UNREAD, observation=None)
    made.refresh_from_db()
    return made


def test_it_says_what_is_known_and_when_the_next_try_is(run: MigrationRun, visitor: VisitorOf) -> None:
    page = visitor("viewer").run(run)

    assert run.reconcile_after_at is not None
    assert "Nobody answers at db.example." in page.words
    assert "It was executing: any part of the plan may have reached the target." in page.words
    assert f"is at {run.reconcile_after_at:%H:%M:%S} UTC" in page.words
    assert "Nothing else runs on market/production/main meanwhile." in page.words
    assert "Verify again" not in page.buttons


def test_an_operator_has_it_read_at_once(run: MigrationRun, visitor: VisitorOf) -> None:
    operator = visitor("operator")
    assert "Verify again" in operator.run(run).buttons

    operator.press(run, "verify-again")

    page = operator.run(run)
    assert "A worker of target-production is asked to end its sessions" in page.words
    assert "Verify again" not in page.buttons


def test_it_names_the_worker_that_reads_now(run: MigrationRun, visitor: VisitorOf) -> None:
    MigrationRun.objects.filter(number=run.number).update(reconcile_after_at=database_now() - timedelta(seconds=1))
    attempts.take_over(actor=people.WORKER, number=run.number)

    page = visitor("operator").run(run)

    assert "worker@test is ending its sessions and reading market/production/main now." in page.words
    assert "Verify again" not in page.buttons
