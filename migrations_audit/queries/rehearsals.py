"""What the run page shows of rehearsals: the newest one, what the policy still misses, and how a plan can be taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F

from migrations_audit.models import MigrationRun, Rehearsal, Tier
from migrations_audit.states import Grade, Operation, Outcome, RehearsalDemand, RunState

SIGNS = {"+": "added", "~": "changed", "-": "removed"}
HEAVY = ("steps", "delta", "differences", "problems", "findings", "impact")
"""What is shown of one rehearsal only, and may be large."""
STATES = (RunState.AWAITING_APPROVAL, RunState.APPROVED)


@dataclass(frozen=True)
class Rehearsed:
    """``newest`` may still run; ``shown`` is the telling one, if any has ended. ``missing``: what the policy misses."""

    newest: Rehearsal | None
    shown: Rehearsal | None
    others: Sequence[Rehearsal]
    missing: str
    may_ask: bool
    may_write_runbook: bool
    needs_runbook: bool

    @property
    def exists(self) -> bool:
        return self.newest is not None

    @property
    def is_open(self) -> bool:
        return self.newest is not None and not self.newest.has_ended

    @property
    def counts(self) -> str:
        """How much of the catalog the plan changes, in words."""
        if self.shown is None:
            return ""
        found = Counter(change["sign"] for change in self.shown.delta)
        return ", ".join(f"{found[sign]} {word}" for sign, word in SIGNS.items() if found[sign]) or "nothing"

    @property
    def unlike(self) -> Sequence[str]:
        """Where the copy was not like its target, and what its server refused."""
        return [*self.shown.problems, *self.shown.differences] if self.shown else []

    @property
    def forecast(self) -> Sequence[Mapping[str, Any]]:
        entries: Sequence[Mapping[str, Any]] = self.shown.impact.get("forecast", []) if self.shown else []
        return entries

    @property
    def is_taken_back_exactly(self) -> bool:
        return self.shown is not None and self.shown.grade == Grade.EXACT


def of_run(
    run: MigrationRun, *, decides: bool, starts: bool, is_requester: bool, has_approvals: bool, now: datetime
) -> Rehearsed:
    """The rehearsals of a run for one person."""
    rows = list(run.rehearsals.defer(*HEAVY).order_by("-pk")[:20]) if run.plan_id else []
    ended = sorted((row for row in rows if row.has_ended), key=lambda row: row.outcome == Outcome.COULD_NOT_RUN)
    shown = run.rehearsals.get(pk=ended[0].pk) if ended else None
    waits = run.run_state in STATES and run.operation != Operation.ADOPT
    is_open = bool(rows) and not rows[0].has_ended
    return Rehearsed(
        newest=rows[0] if rows else None,
        shown=shown,
        others=ended[1:],
        missing=missing(run, shown, now=now, at_approval=run.run_state is not RunState.APPROVED) if waits else "",
        may_ask=waits and not is_open and (decides or starts or is_requester),
        may_write_runbook=waits and (decides or starts or is_requester) and not has_approvals,
        needs_runbook=waits and needs_runbook(run, shown),
    )


def telling_of(runs: Iterable[MigrationRun]) -> Mapping[int, Rehearsal]:
    """The telling rehearsal of each run's plan, without what may be large, by run number."""
    ended = Rehearsal.objects.filter(run__in=runs, plan=F("run__plan")).telling_first().defer(*HEAVY)
    return {each.run_id: each for each in ended.distinct("run_id")}


def needs_runbook(run: MigrationRun, telling: Rehearsal | None) -> bool:
    """Whether production has a plan that its rehearsal did not see taken back exactly, for whatever reason, and no runbook."""
    production = run.target.environment.tier == Tier.PRODUCTION
    return production and telling is not None and telling.grade != Grade.EXACT and not run.runbook


def missing(run: MigrationRun, telling: Rehearsal | None, *, now: datetime, at_approval: bool) -> str:
    """Which rehearsal the policy demands that ``telling`` is not, as a sentence; empty where nothing is missing.

    Its age counts when somebody approves; at the start the approval's own lifetime does.
    """
    environment = run.target.environment
    demand = RehearsalDemand(environment.rehearsal)
    within = timedelta(hours=environment.rehearsal_within_h)
    if not demand.is_condition or run.operation == Operation.ADOPT:
        return ""
    if telling is None:
        return (
            f"{environment.name} demands a rehearsal of this plan, and none has ended. Press Rehearse, or wait for the one that "
            "runs."
        )
    if telling.outcome == Outcome.FAILED:
        return (
            f"The newest rehearsal of this plan failed: {telling.sentence} Correct the revision and plan again, or rehearse "
            "again."
        )
    if telling.outcome == Outcome.COULD_NOT_RUN and demand is RehearsalDemand.PASSED:
        return (
            f"{environment.name} demands a rehearsal that passed, and the newest one could not run: {telling.sentence}"
        )
    if at_approval and within and telling.ended_at is not None and now - telling.ended_at > within:
        return (
            f"{environment.name} demands a rehearsal that is not older than {environment.rehearsal_within_h} hours; the newest "
            f"ended at {telling.ended_at:%Y-%m-%d %H:%M} UTC. Press Rehearse."
        )
    return ""
