"""Rehearsals as workers would leave them, without any copy."""

from __future__ import annotations

from typing import Any

from migrations_audit.actions import rehearsals
from migrations_audit.models import MigrationRun, Rehearsal
from migrations_audit.states import Outcome
from tests.people import WORKER, Place


def result(outcome: Outcome = Outcome.PASSED, **more: Any) -> rehearsals.Result:
    """What a worker saw."""
    values: dict[str, Any] = {
        "code": "rehearsed",
        "sentence": f"It {outcome.value.replace('_', ' ')}.",
        "grade": "exact" if outcome is Outcome.PASSED else "",
        "steps": [{"revision": "003", "statements": []}],
        "delta": [{"sign": "+", "key": "table public.x", "before": "", "after": "table"}],
    }
    return rehearsals.Result(outcome, **(values | more))


def claimed(place: Place, run: MigrationRun) -> Rehearsal:
    """A rehearsal that a worker has taken up."""
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    taken = rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk)
    assert taken is not None
    return taken


def ended(place: Place, run: MigrationRun, outcome: Outcome = Outcome.PASSED, **more: Any) -> Rehearsal:
    """A rehearsal that has ended."""
    taken = claimed(place, run)
    deltas = [{"revision": "003", "sha256": "a" * 64, "changes": []}] if outcome is Outcome.PASSED else []
    found = rehearsals.finish(
        actor=WORKER, rehearsal_id=taken.pk, epoch=taken.epoch, result=result(outcome, **more), deltas=deltas
    )
    assert found is not None
    return found
