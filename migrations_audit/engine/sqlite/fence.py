"""A run on a SQLite file: there is no server, so that its processes are all there is of it.

The runner holds the lock of a file beside the database as long as it or a process forked from it lives; the kernel frees it at
the end of the last one, however it came. Who has that lock, and then the database's own write lock, knows that the run writes no
more, and what it left half written is undone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator

from migrations_audit.engine.fence import CONNECT_TIMEOUT_S, STATEMENT_DEADLINE_S, Backend, FenceResult
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.sqlite import session
from migrations_audit.engine.sqlite.url import SqliteUrl

POLL_S = 0.1
LONGEST_NAME = 200


def lock_path(url: SqliteUrl) -> str:
    """The file beside the database that a run locks. Published: another tool that takes its flock excludes the portal."""
    return os.path.realpath(url.database) + ".opsportal-lock"


def fence(url: SqliteUrl, *, budget_s: float, needs_lock: bool) -> FenceResult:
    """Wait up to ``budget_s`` until no process of a run is left and nobody writes, and undo an interrupted write.

    Nothing is ended here: the supervisor ends its runner, and a runner dies with its supervisor. After a run that sent nothing
    (``needs_lock`` False) who works there now is somebody else, and not waited for. Raises CannotRead.
    """
    end = time.monotonic() + budget_s
    with _lock_file(url) as lock:
        while True:
            free = _is_ours(lock)
            settled = free and _settled(url)
            if settled or not needs_lock or time.monotonic() >= end:
                break
            time.sleep(POLL_S)
        holder = None if settled else _told(lock, "" if not free else "a process that writes to the database")
    return FenceResult(
        clear=settled or not needs_lock, terminated=(), remaining=(), lock_free=settled, lock_holder=holder
    )


@contextlib.contextmanager
def _lock_file(url: SqliteUrl) -> Iterator[int]:
    session.found(url)
    try:
        lock = os.open(lock_path(url), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
    except OSError as error:
        raise CannotRead(
            f"The lock file beside {url.database} could not be opened: {error.strerror}. Let the worker's account write there.",
            code="permission",
        ) from None
    try:
        yield lock
    finally:
        os.close(lock)


def _is_ours(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _settled(url: SqliteUrl) -> bool:
    """Whether the write lock could be had; getting it undoes what a dead writer left."""
    with session.connect(url, mode="rw", deadline_s=CONNECT_TIMEOUT_S + STATEMENT_DEADLINE_S) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return False
            raise
        connection.execute("ROLLBACK")
    return True


def _told(lock: int, name: str) -> Backend:
    written = name or clean(os.pread(lock, LONGEST_NAME, 0).decode(errors="replace")).strip()
    return Backend(pid=0, user="", application_name=written, state="", query="", age_s=0, wait_event="")
