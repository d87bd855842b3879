"""What a rollback of a run must bring back: what was there when that run began, as its own preflight read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from migrations_audit.actions import plans
from migrations_audit.engine import catalog, expectations
from migrations_audit.engine.types import Change, Reading
from migrations_audit.execution import observing
from migrations_audit.models import MigrationRun, Observation, Plan

MOST_BETWEEN: Final = 50
_BEFORE: Final = ("preflight",)
_AFTER: Final = ("verify", "reconcile")


def facts(run: MigrationRun, plan: Plan, reading: Reading, *, changes: Iterable[Change]) -> dict[str, Any]:
    """What to judge a rollback of a run by; nothing for others. ``changes`` are what the rollback made of the catalog.

    What that run, those between, and the rollback changed must be as it was before. An object that none of them touched may have
    moved meanwhile for good reasons: nothing is asked of it.
    """
    undone = run.rolls_back
    if undone is None:
        return {}
    name = f"run {undone.number}"
    before, after = _read(undone, _BEFORE), _read(undone, _AFTER)
    reason = (
        _elsewhere(undone, plan) or _unfit(before, reading, f"before {name}") or _unfit(after, reading, f"after {name}")
    )
    if reason or before is None or before.catalog is None:
        return {"rolls_back": name, "before_not_known": reason}
    touched = [*_made_by(undone, reading), *_made_between(undone, run, reading), *changes]
    differing = expectations.not_as_before(
        before.catalog.body,
        [change.key for change in touched],
        reading.catalog.body,
        version_table=run.target.project.version_table,
    )
    return {"rolls_back": name, "not_as_before": differing}


def _made_between(undone: MigrationRun, run: MigrationRun, reading: Reading) -> Iterator[Change]:
    """The rollback leads to where the first of them began, so that it takes back what the later ones applied as well."""
    between = run.target.runs.filter(number__gt=undone.number, number__lt=run.number, started_at__isnull=False)
    for each in between.order_by("-number")[:MOST_BETWEEN]:
        yield from _made_by(each, reading)


def _made_by(run: MigrationRun, reading: Reading) -> tuple[Change, ...]:
    before, after = _read(run, _BEFORE), _read(run, _AFTER)
    if _unfit(before, reading, "") or _unfit(after, reading, ""):
        return ()
    bodies = [each.catalog.body for each in (before, after) if each is not None and each.catalog is not None]
    return catalog.diff(*bodies)


def _read(run: MigrationRun, purposes: Iterable[str]) -> Observation | None:
    """The newest reading of the run for one of these purposes, with its catalog."""
    found = run.observations.filter(purpose__in=purposes, catalog__isnull=False)
    return found.select_related("catalog").order_by("-at", "-id").first()


def _elsewhere(undone: MigrationRun, plan: Plan) -> str:
    if undone.plan is None:
        return f"run {undone.number} never had a plan"
    began, leads = (tuple(sorted(each)) for each in (undone.plan.from_revisions, plan.to_revisions))
    if began == leads:
        return ""
    words = [", ".join(rows) or "base" for rows in (began, leads)]
    return f"run {undone.number} began at {words[0]}, and this rollback leads to {words[1]}"


def _unfit(read: Observation | None, reading: Reading, when: str) -> str:
    """Why a reading says nothing about the database that was read now; empty where it does."""
    if read is None or read.identity is None:
        return f"no catalog was read {when}"
    if plans.identity_facts(read.identity) != plans.identity_facts(reading.identity.as_dict()):
        return f"what was read {when} was another database"
    if not observing.is_comparable(read):
        return f"what was read {when} was read by another version of the portal, which compares other kinds of objects"
    return ""
