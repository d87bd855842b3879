"""What an earlier run may have left half applied on a target, and nobody has looked at since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from migrations_audit.models import MigrationRun, Target
from migrations_audit.states import RunState

CODES: Final = ("partly_applied", "possibly_partly_applied")
_EXECUTED: Final = (RunState.APPLIED.value, RunState.FAILED.value, RunState.CLOSED.value)


def of_reading(target: Target, *, rows: Sequence[str], fingerprint: str | None, kinds: str) -> MigrationRun | None:
    """The run that left ``target`` half applied, when a reading shows it as it was left and nobody accepted that.

    ``kinds`` is what the reading compares: where another version of the portal read it then, only the rows can tell.

    A run whose revisions all stay inside their transactions and that ended between two of them left nothing half applied: it
    can be planned on from there.
    """
    run = (
        MigrationRun.objects.filter(target=target, state__in=_EXECUTED, finished_at__isnull=False)
        .select_related("plan", "target__project", "target__environment")
        .defer("plan__sql", "plan__body")
        .order_by("-finished_at")
        .first()
    )
    if run is None or run.plan is None or run.reason_code not in CODES or run.number == target.leftovers_accepted_of:
        return None
    read = run.observations.filter(purpose__in=("verify", "reconcile"), catalog__isnull=False).first()
    if read is None:
        return run
    left = sorted(read.revisions or ())
    if run.plan.is_transactional and left != sorted(run.plan.from_revisions):
        return None
    is_as_left = read.catalog_id == fingerprint or read.facts.get("kinds", "") != kinds
    return run if left == sorted(rows) and is_as_left else None


def of_newest_reading(target: Target) -> MigrationRun | None:
    """The same for the newest reading that reached the target."""
    newest = target.observations.counted().filter(catalog__isnull=False).first()
    if newest is None:
        return None
    kinds = newest.facts.get("kinds", "")
    return of_reading(target, rows=newest.revisions or (), fingerprint=newest.catalog_id, kinds=kinds)
