"""Lists for people: the first of many, and how many more there are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice


def listed(items: Collection[object], most: int, *, between: str = ", ") -> str:
    """The first ``most`` on one line: ``a, b and 3 more``, or ``a; b; and 3 more``. Empty for none."""
    more = f"{between.strip(', ')} and {len(items) - most} more" if len(items) > most else ""
    return between.join(map(str, islice(items, most))) + more


def lines(items: Sequence[str], most: int) -> list[str]:
    """The first ``most`` as lines, with a last one, ``and 3 more``, where there are more."""
    more = len(items) - most
    return [*items[:most], f"and {more} more"] if more > 0 else list(items)
