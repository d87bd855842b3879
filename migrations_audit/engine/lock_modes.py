"""Which locks on a relation wait for which: PostgreSQL's own table of conflicts.

Source: https://www.postgresql.org/docs/current/explicit-locking.html, table "Conflicting Lock Modes".
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

READS: Final = "AccessShareLock"
WRITES: Final = "RowExclusiveLock"

_SHARE, _SHARE_ROW_EXCLUSIVE = "ShareLock", "ShareRowExclusiveLock"
_EXCLUSIVE, _ACCESS_EXCLUSIVE = "ExclusiveLock", "AccessExclusiveLock"
_STRONGEST: Final = frozenset({_EXCLUSIVE, _ACCESS_EXCLUSIVE})
# By mode, from the weakest, those from itself upwards that it conflicts with: half of the table, which is symmetric.
_HALF: Final[dict[str, Set[str]]] = {
    READS: {_ACCESS_EXCLUSIVE},
    "RowShareLock": _STRONGEST,
    WRITES: _STRONGEST | {_SHARE, _SHARE_ROW_EXCLUSIVE},
    "ShareUpdateExclusiveLock": _STRONGEST | {"ShareUpdateExclusiveLock", _SHARE, _SHARE_ROW_EXCLUSIVE},
    _SHARE: _STRONGEST | {_SHARE_ROW_EXCLUSIVE},
    _SHARE_ROW_EXCLUSIVE: _STRONGEST | {_SHARE_ROW_EXCLUSIVE},
    _EXCLUSIVE: _STRONGEST,
    _ACCESS_EXCLUSIVE: {_ACCESS_EXCLUSIVE},
}
_CONFLICTS: Final[dict[str, set[str]]] = {
    mode: set(above) | {weaker for weaker, stronger in _HALF.items() if mode in stronger}
    for mode, above in _HALF.items()
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
