"""What must hold over all runs at the end, and what is watched meanwhile. Each finding is a sentence; none is the aim."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import DatabaseError, connection
from django.db.models import Count

from migrations_audit import exports
from migrations_audit.models import AuditEvent, MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState
from tests.chaos import driving, truth

GRACE_S = 15
LOOK_EVERY_S = 1.0


@dataclass
class Totals:
    """Everything that is counted. All of it is zero, and the chain holds, or the chaos has found something."""

    wrong: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    without_lease: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    chain: str = ""

    @property
    def clean(self) -> bool:
        """True when there is nothing to report."""
        found = (self.wrong, self.twice, self.lost, self.claims, self.without_lease, self.secrets, self.broken)
        return not any(found) and not self.chain


class LeaseWatch:
    """Sees runs that are ``running`` for too long after their lease was over. Look often, from one thread."""

    def __init__(self, *, lease_s: float) -> None:
        self._allowed = timedelta(seconds=lease_s + GRACE_S)
        self._next_look = 0.0
        self._away_since: float | None = None
        self.found: dict[int, str] = {}

    def look(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY_S
        try:
            overdue = MigrationRun.objects.filter(
                state=RunState.RUNNING.value, lease_expires_at__lte=database_now() - self._allowed
            )
            for run in overdue:
                self.found.setdefault(
                    run.number, f"run {run.number} was running without a lease since {run.lease_expires_at}"
                )
        except DatabaseError:  # the portal's database is away, as it may be in a chaos
            connection.close()


def count(
    attempts: Sequence[driving.Attempt], *, watch: LeaseWatch, logs: Iterable[tuple[str, str]], secrets: dict[str, str]
) -> Totals:
    """Look at everything once more, after the last run has ended."""
    totals = Totals(without_lease=list(watch.found.values()))
    for attempt in attempts:
        _judge(attempt, totals)
    claims = AuditEvent.objects.filter(action="run.claimed").values("object_id").annotate(count=Count("seq"))
    totals.claims = [f"run {row['object_id']} was claimed {row['count']} times" for row in claims if row["count"] > 1]
    checked = exports.verify_chain(now=database_now())
    totals.chain = "" if checked.holds else f"event {checked.bad_seq}: {checked.reason}"
    for name, text in logs:
        totals.secrets += [f"{what} stands in {name}" for what, secret in secrets.items() if secret in text]
    return totals


def _judge(attempt: driving.Attempt, totals: Totals) -> None:
    """What was true when the run ended must be true of its marks at the end too: nothing works on in the dark."""
    name = f"run {attempt.number} (plan {attempt.plan.index}, {attempt.plan.kind}; {', '.join(attempt.came)})"
    if attempt.lost:
        totals.lost.append(f"{name} is {attempt.verdict}: {attempt.sentence}")
    if attempt.wrong:
        found = totals.twice if attempt.effect == truth.Effect.TWICE else totals.wrong
        found.append(f"{name}: {attempt.wrong}")
    now = driving.patiently(lambda: truth.read(attempt.scene.url), within=60)
    if now.of_run(attempt.number) != attempt.marks and not attempt.lost:
        totals.wrong.append(
            f"{name} went on after it was called {attempt.verdict}: marks {sorted(attempt.marks.items())} then, "
            f"{sorted(now.of_run(attempt.number).items())} at the end"
        )
    if (uneven := truth.unbalanced(now)) and attempt.effect != truth.Effect.TWICE:
        totals.twice.append(f"{name}: at the end {uneven}")
