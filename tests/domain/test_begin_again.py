"""A run that begins anew after a lock timeout: its first attempt was rolled back, and that was read."""

from __future__ import annotations

import pytest

from migrations_audit.actions import attempts
from migrations_audit.execution.narration import Narrator
from migrations_audit.models import MigrationRun
from migrations_audit.states import Phase
from tests.domain import trail
from tests.people import WORKER, make_place, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> MigrationRun:
    """A run whose runner was told to go on."""
    found = make_run(make_place(), state="running")
    attempts.enter_phase(actor=WORKER, number=found.number, epoch=found.epoch, phase=Phase.LOCK, sentence="Locking.")
    return found


def test_after_a_proven_rollback_nothing_of_the_run_can_be_in_the_target(run: MigrationRun) -> None:
    narrator = Narrator(run=run, actor=WORKER)
    assert narrator.may_go()
    assert narrator.witness.touched

    narrator.start_over("Rolled back after a lock timeout.", attempt=2)

    run.refresh_from_db()
    assert (narrator.witness.touched, run.phase) == (False, "lock")
    assert trail.of_run(run)[-1] == "run.began_again"


def test_the_next_attempt_may_send_something_again(run: MigrationRun) -> None:
    narrator = Narrator(run=run, actor=WORKER)
    assert narrator.may_go()
    narrator.start_over("Rolled back after a lock timeout.", attempt=2)

    assert narrator.may_go()

    run.refresh_from_db()
    assert (narrator.witness.touched, run.phase) == (True, "execute")


def test_it_begins_anew_only_in_its_own_epoch(run: MigrationRun) -> None:
    narrator = Narrator(run=run, actor=WORKER)
    assert narrator.may_go()
    attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="Given up.")

    with pytest.raises(attempts.LostLease):
        narrator.start_over("Rolled back after a lock timeout.", attempt=2)
