"""The one way a run changes its state: a conditional update of exactly one row, or an error that says who was faster."""

from __future__ import annotations

from typing import Any

from migrations_audit import states
from migrations_audit.errors import Conflict, NotFound
from migrations_audit.models import MigrationRun
from migrations_audit.states import RunState


class StaleRun(Conflict):
    """Somebody was faster: the run has moved on. Reload the page and look again."""

    code = "stale_run"


class NoSuchRun(NotFound):
    """There is no such run, or you may not see it."""


def lock(number: int) -> MigrationRun:
    """The run, its row locked until the transaction ends. Raises NoSuchRun.

    The lock leaves the key alone, so that a row which refers to the run never waits for it. What the run refers to is read after
    the lock was had: rows joined by the locking query itself would be those from before the wait.
    """
    locked = MigrationRun.objects.select_for_update(no_key=True).filter(number=number).values_list("number")
    if not locked:
        raise NoSuchRun(f"There is no run {number}, or you may not see it.")
    return read(number)


def lock_if_free(number: int) -> MigrationRun | None:
    """The same, but None when another transaction holds the row: that of a host which is gone may hold it for hours."""
    rows = MigrationRun.objects.select_for_update(no_key=True, skip_locked=True).filter(number=number)
    return read(number) if rows.values_list("number") else None


def read(number: int) -> MigrationRun:
    """The run with what it refers to, as an event tells of it."""
    return MigrationRun.objects.select_related("target__project", "target__environment", "plan").get(number=number)


def expect(run: MigrationRun, *accepted: RunState, verb: str) -> None:
    """Raise StaleRun unless the (locked) run is in one of the accepted states."""
    if run.run_state not in accepted:
        raise StaleRun(f"{run} cannot be {verb}: it is {run.get_state_display()}. {run.sentence}".strip())


def move(run: MigrationRun, *, to: RunState, sentence: str, reason_code: str = "", **fields: Any) -> None:
    """Move ``run`` to ``to`` if its stored state and epoch still allow it, and mirror the change on the instance.

    Raises StaleRun when the row was moved by another or belongs to a later epoch.
    """
    unscheduled = {"scheduled_at": None, "scheduled_as": None}  # a schedule is of the state that it was made in
    values = {"state": to.value, "sentence": sentence, "reason_code": reason_code, **unscheduled, **fields}
    sources = [state.value for state in states.sources(to)]
    changed = MigrationRun.objects.filter(number=run.number, state__in=sources, epoch=run.epoch).update(**values)
    if changed != 1:
        found = MigrationRun.objects.get(number=run.number)
        raise StaleRun(
            f"{run} cannot become {to.value.replace('_', ' ')}: it is {found.get_state_display()}. {found.sentence}"
        )
    for name, value in values.items():
        setattr(run, name, value)
