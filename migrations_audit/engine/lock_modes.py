"""Which locks on a relation wait for which: PostgreSQL's own table of conflicts.

Source: https://www.postgresql.org/docs/current/explicit-locking.html, table "Conflicting Lock Modes".
"""

from __future__ import annotations

from typing import Final

READS: Final = "AccessShareLock"
WRITES: Final = "RowExclusiveLock"

# By mode, those that it conflicts with. The relation is symmetric; both halves are written down, as in the source.
_CONFLICTS: Final = {
    READS: {"AccessExclusiveLock"},
    "RowShareLock": {"ExclusiveLock", "AccessExclusiveLock"},
    WRITES: {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"},
    "ShareUpdateExclusiveLock": {
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    },
    "ShareLock": {
        WRITES,
        "ShareUpdateExclusiveLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    },
    "ShareRowExclusiveLock": {
        WRITES,
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    },
    "ExclusiveLock": {
        "RowShareLock",
        WRITES,
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    },
    "AccessExclusiveLock": {
        READS,
        "RowShareLock",
        WRITES,
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    },
}
MODES: Final = tuple(_CONFLICTS)
"""From the weakest to the strongest."""
BLOCK_WRITES: Final = tuple(mode for mode in MODES if WRITES in _CONFLICTS[mode])
"""Those under which nobody else writes the relation."""


def conflict(wanted: str, held: str) -> bool:
    """Whether who wants a relation in the mode ``wanted`` waits for who holds it in the modes ``held``, as "A, B".

    A predicate lock (SIReadLock) holds up nobody.
    """
    return not _CONFLICTS.get(wanted, set()).isdisjoint(held.split(", "))
