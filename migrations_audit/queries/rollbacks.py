"""Where the rollback of a run leads: back to where that run began, unless somebody chose another revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrations_audit.models import MigrationRun, Target


@dataclass(frozen=True)
class Beginning:
    """Where a run began. ``revision`` is what a rollback to there asks for; empty where that has no single name."""

    number: int
    revision: str
    sentence: str


def beginning_of(number: int | None, *, target: Target, below: Sequence[str]) -> Beginning | None:
    """Where run ``number`` began, if it is a planned one of this target. ``below`` are the revisions that may be gone back to."""
    rows = _began_at(number, target=target)
    if rows is None or number is None:
        return None
    began = f"Run {number} began at {_words(rows)}"
    if len(rows) > 1:
        return Beginning(number, "", f"{began}, which has no single name to go back to. Choose what comes nearest.")
    revision = rows[0] if rows else "base"
    if rows and revision not in below:
        return Beginning(number, "", f"{began}, which is not below where the target was read last.")
    return Beginning(number, revision, f"{began}: going back to there takes back what it applied.")


def elsewhere(run: MigrationRun) -> str:
    """What to say of a planned rollback that leads elsewhere than where the run began that it rolls back; empty for others."""
    began = _began_at(run.rolls_back_id, target=run.target)
    if began is None or run.plan is None or sorted(began) == sorted(run.plan.to_revisions):
        return ""
    leads = _words(run.plan.to_revisions)
    return f"Another revision was chosen: run {run.rolls_back_id} began at {_words(began)}, and this leads to {leads}."


def _began_at(number: int | None, *, target: Target) -> list[str] | None:
    if number is None:
        return None
    found = MigrationRun.objects.filter(number=number, target=target, plan__isnull=False)
    return found.values_list("plan__from_revisions", flat=True).first()


def _words(rows: Sequence[str]) -> str:
    return ", ".join(rows) or "base"
