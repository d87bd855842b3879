"""The one question before a run starts, asked by every face and again by the claim: is it open?"""

from __future__ import annotations

from datetime import datetime

from migrations_audit.errors import Conflict
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.queries import openings


class WindowClosed(Conflict):
    """No run may start there at that time: the environment's windows say so."""

    code = "window_closed"

    def __init__(self, message: str | None = None, *, opens_at: datetime | None = None) -> None:
        super().__init__(message)
        self.opens_at = opens_at


class Frozen(WindowClosed):
    """The portal is frozen, so no run starts anywhere."""

    code = "frozen"


def is_frozen() -> bool:
    """Whether a freeze is in force now."""
    return openings.freeze_at(database_now()) is not None


def need_open(run: MigrationRun, *, at: datetime) -> None:
    """Raise Frozen or WindowClosed unless ``run`` may start at ``at``. A rollback waits for the same windows as an upgrade."""
    freeze = openings.freeze_at(at)
    if freeze is not None:
        found = openings.under(freeze)
        raise Frozen(f"{run} does not start. {found.sentence}", opens_at=found.opens_at)
    found = openings.windows_of_run(run, at=at)
    if not found.is_open:
        place = run.target.environment.name
        raise WindowClosed(f"{run} does not start in {place}. {found.sentence}", opens_at=found.opens_at)
