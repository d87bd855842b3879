"""The portal's clock is its database's: leases, expiry and the audit must agree whichever host acts."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import connection


def database_now() -> datetime:
    """The database's wall clock, in UTC. It moves within a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    result: datetime = now.astimezone(UTC)
    return result
