"""Which queues somebody listens to."""

from __future__ import annotations

from datetime import datetime, timedelta

from migrations_audit.models import Worker

SILENT_AFTER = timedelta(seconds=45)
"""A worker gives a sign of life every ten seconds or so; three in a row must be missing."""


def heard_queues(*, now: datetime) -> frozenset[str]:
    """The queues that at least one live worker consumes."""
    live = Worker.objects.filter(seen_at__gt=now - SILENT_AFTER).values_list("queues", flat=True)
    return frozenset(queue for queues in live for queue in queues)
