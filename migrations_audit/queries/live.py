"""The live view of one run: log lines after a sequence number, and the state that the page shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from migrations_audit.models import Approval, LogLine, MigrationRun, RunStep
from migrations_audit.queries import durations, workers
from migrations_audit.states import RunState

PAGE = 500


class StepNow(TypedDict):
    position: int
    revision: str
    state: str
    ms: int | None


class StateNow(TypedDict):
    """What a page that is open must know to update itself."""

    state: str
    verdict: str
    phase: str
    sentence: str
    cancel_requested: bool
    worker_ending: bool
    is_long: bool
    decisions: int
    rehearsal: str
    steps: list[StepNow]


@dataclass(frozen=True)
class Glance:
    """One look at a run. ``more`` says that lines beyond this page exist already."""

    lines: Sequence[LogLine]
    state: StateNow
    is_over: bool
    more: bool


class Patience:
    """Whether one run takes longer than expected. What is expected is asked for once, however often somebody looks."""

    def __init__(self) -> None:
        self._has_asked = False
        self._expected: durations.Expected | None = None

    def is_exceeded(self, run: MigrationRun, *, user_id: int | None, now: datetime) -> bool:
        """Whether it runs, and for clearly longer than it should take by what this person may see."""
        if run.run_state is not RunState.RUNNING:
            return False
        if not self._has_asked:
            telling = run.rehearsals.telling_first().only("outcome", "steps", "impact").first()
            self._expected = durations.expected(run, telling, user_id=user_id)
            self._has_asked = True
        return self._expected is not None and self._expected.is_exceeded(run, now=now)


def lines_of(number: int) -> Iterator[LogLine]:
    """Every line in order, read in pages, so that a slow reader keeps neither memory nor a transaction."""
    after = 0
    while page := list(LogLine.objects.filter(run_id=number, seq__gt=after).order_by("seq")[:PAGE]):
        yield from page
        after = page[-1].seq


def glance(number: int, *, user_id: int | None, after: int, patience: Patience, now: datetime) -> Glance | None:
    """The lines after ``after`` and the present state; None when this person may no longer see the run.

    The state is read before the lines, so that whoever sees an ended run also gets its last lines.
    """
    run = MigrationRun.objects.visible_to(user_id).filter(number=number).first()
    if run is None:
        return None
    return glance_at(run, after=after, is_long=patience.is_exceeded(run, user_id=user_id, now=now))


def glance_at(run: MigrationRun, *, after: int, is_long: bool) -> Glance:
    """The same of a run that was read just now, and that takes longer than expected or does not."""
    number = run.number
    decisions = Approval.objects.filter(run_id=number, withdrawn_at__isnull=True).count()
    rehearsal = run.rehearsals.order_by("-pk").values_list("pk", "state").first()
    steps = list(RunStep.objects.filter(run_id=number))
    lines = list(LogLine.objects.filter(run_id=number, seq__gt=after).order_by("seq")[: PAGE + 1])
    return Glance(
        lines=lines[:PAGE],
        state={
            "state": run.get_state_display(),
            "verdict": run.get_verdict_display(),
            "phase": run.phase,
            "sentence": run.sentence,
            "cancel_requested": run.cancel_requested_at is not None,
            "worker_ending": workers.ending_with(run) is not None,
            "is_long": is_long,
            "decisions": decisions,
            "rehearsal": " ".join(map(str, rehearsal or ())),
            "steps": [
                {"position": step.position, "revision": step.revision, "state": step.state, "ms": step.duration_ms}
                for step in steps
            ],
        },
        is_over=run.is_terminal,
        more=len(lines) > PAGE,
    )
