"""What needs attention, as sentences, worst first. Pure: from what was read to what is said about it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from migrations_audit.models import MigrationRun, Target, Tier, Worker
from migrations_audit.queries.standing import NEVER_READ, STALE, Standing
from migrations_audit.states import RunState, TargetStatus, Verdict

LONG_IN_QUEUE = timedelta(minutes=5)
LONG_FOR_PEOPLE = timedelta(hours=4)

_S = RunState

# Worst first; the place in this list is the rank.
KINDS = (
    "outcome_unknown",
    "worker_silent",
    "glass_broken",
    "wrong_database",
    "regressed",
    "tables_missing",
    "unreachable",
    "unreadable",
    "production_behind",
    "contradicted",
    "unknown_revision",
    "unreadable_scripts",
    "several_heads",
    "ahead",
    "stale",
    "never_read",
    "no_worker",
    "waits_long",
)

EXPECTED_BEFORE_PRODUCTION = (TargetStatus.BEHIND, TargetStatus.NOT_INITIALISED)


@dataclass(frozen=True)
class Item:
    """A sentence, and what it is about: the page of that is where to act."""

    kind: str
    sentence: str
    target: Target
    run: MigrationRun | None = None

    @property
    def subject(self) -> str:
        return self.target.label if self.run is None else f"Run {self.run.number} on {self.target.label}"


def worst_first(items: Iterable[Item]) -> list[Item]:
    """Sort by kind; within a kind production first, then by name."""
    return sorted(
        items,
        key=lambda item: (
            KINDS.index(item.kind),
            item.target.environment.tier != Tier.PRODUCTION,
            item.target.label,
            item.run.number if item.run else 0,
        ),
    )


def of_targets(cells: Iterable[tuple[Target, Standing, MigrationRun | None]]) -> list[Item]:
    """What the newest readings and the newest attempts give cause for."""
    items = []
    for target, standing, attempt in cells:
        if (said := _said(target, standing)) is not None:
            items.append(Item(*said, target=target))
        if attempt is not None and (wrong := _wrong(attempt)):
            items.append(Item("contradicted", wrong, target=target, run=attempt))
    return items


def of_runs(runs: Iterable[MigrationRun], *, now: datetime, heard_queues: Collection[str]) -> list[Item]:
    """What runs under way give cause for. ``heard_queues`` are those that a live worker consumes."""
    items = []
    for run in runs:
        state, queue = run.run_state, run.target.environment.queue
        if state is _S.OUTCOME_UNKNOWN:
            items.append(Item("outcome_unknown", run.sentence, target=run.target, run=run))
        if is_silent(run, now=now):
            items.append(Item("worker_silent", silent_sentence(run), target=run.target, run=run))
        if state in (_S.REQUESTED, _S.QUEUED, _S.OUTCOME_UNKNOWN) and queue not in heard_queues:
            sentence = f"It waits for a worker, and no live worker consumes the queue {queue}. Start one."
            items.append(Item("no_worker", sentence, target=run.target, run=run))
        elif (since := _waits_since(run)) is not None and now - since > _patience(state):
            sentence = f"It has been {run.get_state_display()} for {_hours(now - since)}. {run.sentence}"
            items.append(Item("waits_long", sentence, target=run.target, run=run))
    return items


def of_broken_glass(runs: Iterable[MigrationRun]) -> list[Item]:
    """What was started without approval and was signed by nobody else yet."""
    return [
        Item(
            "glass_broken",
            f"Started without approval by {run.broke_glass_by_name} at {run.broke_glass_at:%Y-%m-%d %H:%M} UTC, and "
            "nobody else has "
            "signed the review. Open it, look at what it did, and sign.",
            target=run.target,
            run=run,
        )
        for run in runs
    ]


def is_silent(run: MigrationRun, *, now: datetime) -> bool:
    """Whether the worker that has the run gave no sign of life within its lease, and no sweep has taken note of that yet."""
    return run.run_state is _S.RUNNING and run.lease_expires_at is not None and run.lease_expires_at <= now


def ending_sentence(run: MigrationRun, worker: Worker) -> str:
    """What the page says while the worker of ``run`` drains: whoever restarts it decides how long it may take."""
    return (
        f"{worker.name} was asked to end at {worker.ending_since_at:%H:%M:%S} UTC. It finishes this run first and takes no "
        f"other. If it is killed before, what reached {run.target} is unknown until another worker has read it: give it time, "
        "or press Cancel."
    )


def silent_sentence(run: MigrationRun) -> str:
    """What the page says while that is so, whoever else is at work: the row alone would still say running."""
    return (
        f"{run.worker} has given no sign of life within its lease, which ended at {run.lease_expires_at:%H:%M:%S} UTC. "
        f"What reached {run.target} is unknown. A sweep takes note of it and has it read; if this stays, no worker consumes "
        f"the queues portal and {run.target.environment.queue}: start one."
    )


def _said(target: Target, standing: Standing) -> tuple[str, str] | None:
    observation = standing.observation
    if standing.kind == NEVER_READ or observation is None:
        return "never_read", "Never read, so nothing is known about it. Press Check now."
    if standing.kind == STALE:
        return "stale", f"The last reading is too old to count. It said: {standing.words.partition(': was ')[2]}."
    if standing.kind in EXPECTED_BEFORE_PRODUCTION and target.environment.tier != Tier.PRODUCTION:
        return None
    if standing.kind == TargetStatus.BEHIND:
        first = observation.pending[0]["revision"] if observation.pending else "?"
        return "production_behind", f"Behind: {len(observation.pending)} pending, first {first}."
    if standing.kind in KINDS:
        return standing.kind, observation.sentence
    return None


def _wrong(attempt: MigrationRun) -> str:
    doubtful = attempt.verdict == Verdict.CONTRADICTED or attempt.reason_code == "possibly_partly_applied"
    return attempt.sentence if doubtful else ""


def _waits_since(run: MigrationRun) -> datetime | None:
    match run.run_state:
        case _S.REQUESTED:
            return run.requested_at
        case _S.AWAITING_APPROVAL:
            return run.planned_at
        case _S.APPROVED:
            return run.approved_at
        case _S.QUEUED:
            return run.queued_at
        case _:
            return None


def _patience(state: RunState) -> timedelta:
    return LONG_IN_QUEUE if state in (_S.REQUESTED, _S.QUEUED) else LONG_FOR_PEOPLE


def _hours(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
