"""Times on a command line: with their time zone, so that nobody guesses which one was meant."""

from __future__ import annotations

import argparse
from datetime import datetime

from migrations_audit.errors import Invalid
from migrations_audit.wallclock import in_utc


def moment(text: str) -> datetime:
    """A time with its zone, for ``add_argument(type=…)``, in UTC."""
    try:
        return in_utc(datetime.fromisoformat(text), field="")
    except (ValueError, Invalid):
        raise argparse.ArgumentTypeError("give a time with its zone, like 2026-11-30T22:00Z") from None
