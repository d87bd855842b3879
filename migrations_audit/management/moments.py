"""Times on a command line: with their time zone, so that nobody guesses which one was meant."""

from __future__ import annotations

import argparse
from datetime import datetime


def moment(text: str) -> datetime:
    """A time with its zone, for ``add_argument(type=…)``."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError("give a time with its zone, like 2026-11-30T22:00Z")
    return found
