"""The fence on a SQLite file: nobody of a run is left, and what a dead writer left half written is undone."""

from __future__ import annotations

import fcntl
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from migrations_audit.engine import dialects
from migrations_audit.engine.session import CannotRead
from tests.engine.engines import SqliteTarget

DIES_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("CREATE TABLE half (text)")
connection.executemany("INSERT INTO half VALUES (?)", [("x" * 3000,)] * 500)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def target(tmp_path: Path) -> SqliteTarget:
    path = tmp_path / "shop.db"
    path.touch()
    made = SqliteTarget(str(path))
    made.execute("CREATE TABLE users (id integer primary key)")
    return made


def test_a_fence_around_nothing_is_clear(target: SqliteTarget) -> None:
    assert dialects.fence(target.parsed, prefix="", sessions=(), budget_s=0).clear


def test_a_run_that_lives_is_not_clear_and_is_named(target: SqliteTarget) -> None:
    with open(dialects.lock_name(target.parsed), "w+") as lock:
        lock.write("opsportal:test:run-7:e1")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

        result = dialects.fence(target.parsed, prefix="", sessions=(), budget_s=0.2)

    assert not result.clear
    assert result.lock_holder is not None
    assert result.lock_holder.application_name == "opsportal:test:run-7:e1"


def test_a_writer_without_the_lock_file_is_not_clear(target: SqliteTarget) -> None:
    writer = sqlite3.connect(target.url, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    result = dialects.fence(target.parsed, prefix="", sessions=(), budget_s=0.2)

    writer.close()
    assert not result.clear


def test_what_a_killed_writer_left_is_undone_before_it_is_read(target: SqliteTarget) -> None:
    subprocess.run([sys.executable, "-c", DIES_IN_A_TRANSACTION, target.url], check=False)
    with pytest.raises(CannotRead, match="has to be undone first"):
        target.read()

    assert dialects.fence(target.parsed, prefix="", sessions=(), budget_s=5).clear

    assert target.tables() == {"users"}
    assert "table half" not in target.read().catalog.body


def test_a_file_that_is_gone_is_an_error_and_never_clear(target: SqliteTarget) -> None:
    Path(target.url).unlink()

    with pytest.raises(CannotRead) as caught:
        dialects.fence(target.parsed, prefix="", sessions=(), budget_s=0)

    assert caught.value.code == "no_such_database"
    assert not Path(target.url).exists()
