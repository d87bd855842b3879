"""Which queues somebody listens to."""

from __future__ import annotations

from datetime import datetime, timedelta

from migrations_audit.models import MigrationRun, Worker
from migrations_audit.states import RunState

SILENT_AFTER = timedelta(seconds=45)
"""A worker gives a sign of life every ten seconds or so; three in a row must be missing."""


def heard_queues(*, now: datetime) -> frozenset[str]:
    """The queues that at least one live worker consumes. One that was asked to end takes nothing new."""
    live = Worker.objects.filter(seen_at__gt=now - SILENT_AFTER, ending_since_at__isnull=True)
    return frozenset(queue for queues in live.values_list("queues", flat=True) for queue in queues)


def ending_with(run: MigrationRun) -> Worker | None:
    """The worker that holds ``run`` and was asked to end, if any. A run names a pool process, which begins with its worker."""
    if run.run_state is not RunState.RUNNING or "/" not in run.worker:
        return None
    return Worker.objects.filter(name=run.worker.rpartition("/")[0], ending_since_at__isnull=False).first()
