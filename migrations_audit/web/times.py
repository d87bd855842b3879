"""Times as a browser's form gives them. The portal's forms say that they are UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from migrations_audit.errors import Invalid
from migrations_audit.wallclock import in_utc


def parse(text: str, *, field: str) -> datetime:
    """The moment that was typed, in UTC. Raises Invalid."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid("Give a date and a time in UTC, like 2026-11-30T22:00.", field=field) from None
    return in_utc(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment, field=field)
