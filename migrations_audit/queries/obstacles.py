"""What stands between a waiting run and its approval or start, in few words, for many runs at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db.models import prefetch_related_objects

from migrations_audit.models import MigrationRun, Rehearsal
from migrations_audit.queries import bound, findings, openings, promotion, rehearsals
from migrations_audit.states import RunState

RUNBOOK = "needs a runbook"
CHANGED = "settings changed since it was planned"
FOR_THE_REQUESTER = (RUNBOOK, CHANGED)
"""What whoever asked can see to: write the runbook, or ask again."""


def of_runs(runs: Sequence[MigrationRun], *, blocked: Iterable[int], now: datetime) -> Mapping[int, str]:
    """What keeps each from going on now, by number; those that nothing keeps are left out.

    ``blocked`` are the targets on which another run is live. A run that has a time says so. The number of queries does not
    depend on the number of runs.
    """
    if not runs:
        return {}
    prefetch_related_objects([run.target.environment for run in runs], "requires_verified_in")
    earlier = promotion.lacking_in(runs)
    rehearsed = rehearsals.telling_of(runs)
    asked = [run for run in runs if run.target.environment.findings_must_be_accepted]
    found = findings.of_runs(asked, now=now) if asked else {}
    closed = _closed([run for run in runs if run.run_state is RunState.APPROVED], now=now)
    busy = set(blocked)
    words = {}
    for run in runs:
        telling, is_approved = rehearsed.get(run.number), run.run_state is RunState.APPROVED
        unaccepted = sum(each.blocks for each in found.get(run.number, ()))
        told = (
            _changed(run),
            f"not verified in {earlier[run.number]} yet" if run.number in earlier else "",
            _rehearsal(run, telling, now=now),
            RUNBOOK if rehearsals.needs_runbook(run, telling) else "",
            f"{unaccepted} finding{'s' if unaccepted > 1 else ''} to accept" if unaccepted else "",
            f"starts at {run.scheduled_at:%Y-%m-%d %H:%M} UTC" if run.scheduled_at is not None else "",
            "another run is under way there" if is_approved and run.target_id in busy else "",
            closed.get(run.number, ""),
        )
        words[run.number] = next(filter(None, told), "")
    return {number: each for number, each in words.items() if each}


def _changed(run: MigrationRun) -> str:
    changed = run.plan is not None and bound.changed(run.plan, run.target)
    return CHANGED if changed else ""


def _rehearsal(run: MigrationRun, telling: Rehearsal | None, *, now: datetime) -> str:
    if not rehearsals.missing(run, telling, now=now, at_approval=run.run_state is not RunState.APPROVED):
        return ""
    return "waits for a rehearsal" if telling is None else "needs another rehearsal"


def _closed(runs: Sequence[MigrationRun], *, now: datetime) -> Mapping[int, str]:
    """Those that a freeze or their windows keep from starting, and until when."""
    if not runs:
        return {}
    freeze = openings.freeze_at(now)
    if freeze is not None:
        return {run.number: _until("frozen", freeze.until) for run in runs}
    verdicts = openings.windows_of_runs(runs, at=now)
    return {
        number: _until("window closed", verdict.opens_at) for number, verdict in verdicts.items() if not verdict.is_open
    }


def _until(what: str, opens_at: datetime | None) -> str:
    return f"{what} until {opens_at:%Y-%m-%d %H:%M} UTC" if opens_at is not None else what
