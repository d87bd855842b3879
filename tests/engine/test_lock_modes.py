"""Which lock waits for which: the documented table in full, and a real server asked for each pair."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from migrations_audit.engine import lock_modes
from tests.engine.database import Database

# As documented: a row for the requested mode, a column for the existing one, in the same order.
DOCUMENTED = {
    "ACCESS SHARE": ".......X",
    "ROW SHARE": "......XX",
    "ROW EXCLUSIVE": "....XXXX",
    "SHARE UPDATE EXCLUSIVE": "...XXXXX",
    "SHARE": "..XX.XXX",
    "SHARE ROW EXCLUSIVE": "..XXXXXX",
    "EXCLUSIVE": ".XXXXXXX",
    "ACCESS EXCLUSIVE": "XXXXXXXX",
}


def stored(mode: str) -> str:
    """A mode as ``pg_locks`` has it."""
    return f"{mode.title().replace(' ', '')}Lock"


def table() -> dict[tuple[str, str], bool]:
    pairs = itertools.product(DOCUMENTED, enumerate(DOCUMENTED))
    return {(wanted, held): DOCUMENTED[wanted][place] == "X" for wanted, (place, held) in pairs}


def test_the_modes_are_those_of_the_documentation() -> None:
    assert tuple(stored(mode) for mode in DOCUMENTED) == lock_modes.MODES


@pytest.mark.parametrize(("wanted", "held"), table())
def test_each_pair_is_as_documented(wanted: str, held: str) -> None:
    assert lock_modes.conflict(stored(wanted), stored(held)) is table()[wanted, held]


def test_a_server_lets_wait_whom_the_table_says(database: Database) -> None:
    database.run("CREATE TABLE t (id int)")
    found = {}
    with database.connect() as holder, database.connect() as asker:
        for held in DOCUMENTED:
            with holder.transaction():
                holder.execute(f"LOCK TABLE t IN {held} MODE".encode())
                (told,) = holder.execute("SELECT mode FROM pg_locks WHERE relation = 't'::regclass").fetchone() or ("",)
                assert told == stored(held)
                for wanted in DOCUMENTED:
                    found[wanted, held] = waits(asker, wanted)

    assert found == table()


def waits(asker: psycopg.Connection[tuple[object, ...]], mode: str) -> bool:
    try:
        with asker.transaction():
            asker.execute(f"LOCK TABLE t IN {mode} MODE NOWAIT".encode())
    except psycopg.errors.LockNotAvailable:
        return True
    return False


def test_of_several_modes_of_one_holder_each_counts() -> None:
    assert lock_modes.conflict("ShareLock", "AccessShareLock, RowExclusiveLock")
    assert not lock_modes.conflict("ShareUpdateExclusiveLock", "AccessShareLock, RowExclusiveLock")


def test_a_predicate_lock_holds_up_nobody() -> None:
    assert not any(lock_modes.conflict(mode, "SIReadLock") for mode in lock_modes.MODES)
    assert not any(lock_modes.conflict("SIReadLock", mode) for mode in lock_modes.MODES)


def test_the_modes_under_which_nobody_writes_are_told_apart() -> None:
    assert lock_modes.BLOCK_WRITES == (
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    )
