"""One short connection to a SQLite file, with every failure told as a sentence."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from migrations_audit.engine.redaction import clean
from migrations_audit.engine.session import LOCK_TIMEOUT_MS, MAX_REASON, CannotRead
from migrations_audit.engine.sqlite.url import SqliteUrl

LONGEST_VALUE: Final = 10 * 1024**2
LOOK_EVERY: Final = 10_000
"""Instructions of SQLite's machine between two looks at the clock."""

_CODES: Final = {
    "SQLITE_BUSY": ("timeout", "another process holds the file's lock. Check again when that has ended"),
    "SQLITE_LOCKED": ("timeout", "another process holds the file's lock. Check again when that has ended"),
    "SQLITE_INTERRUPT": ("timeout", "the reading took longer than its limit. Check the machine's load"),
    "SQLITE_PERM": ("permission", "the worker's account may not open the file. Grant it"),
    "SQLITE_READONLY": (
        "permission",
        "a write that was interrupted has to be undone first, which needs the right to write. Let its own program open it",
    ),
    "SQLITE_CANTOPEN": ("unreachable", "the worker cannot open the file, or what SQLite keeps beside it"),
    "SQLITE_NOTADB": ("other", "the file is not a SQLite database, or it is encrypted"),
    "SQLITE_CORRUPT": ("other", "the file is damaged. Restore it"),
}


def found(url: SqliteUrl) -> os.stat_result:
    """What the file system says of the file. Raises CannotRead when it is not one file of its own."""
    try:
        status = os.stat(url.database)
    except FileNotFoundError:
        raise CannotRead(
            f"{url.database} does not exist on this worker. Check the path in the URL; for a new database make an empty file.",
            code="no_such_database",
        ) from None
    except OSError as error:
        raise CannotRead(
            f"{url.database} could not be read: {error.strerror}. Let the worker's account reach it.", code="permission"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise CannotRead(f"{url.database} is not a regular file. Name the database's own file.")
    if status.st_nlink > 1:
        raise CannotRead(
            f"{url.database} has {status.st_nlink} names, so that another target may be the same file. Keep one of them."
        )
    return status


@contextlib.contextmanager
def connect(url: SqliteUrl, *, mode: str, deadline_s: float) -> Iterator[sqlite3.Connection]:
    """Open the file in ``mode`` (``ro`` or ``rw``, which makes no file) without a transaction, and close it at the end.

    What is executed is interrupted when ``deadline_s`` is over. Raises CannotRead for whatever SQLite says.
    """
    found(url)
    end = time.monotonic() + deadline_s
    try:
        connection = sqlite3.connect(
            f"file:{quote(url.database)}?mode={mode}",
            uri=True,
            timeout=LOCK_TIMEOUT_MS / 1000,
            isolation_level=None,
        )
        with contextlib.closing(connection):
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
            connection.set_progress_handler(lambda: time.monotonic() > end, LOOK_EVERY)
            # The file may be somebody else's work: nothing in its schema may call what it should not.
            connection.execute("PRAGMA trusted_schema = OFF")
            if mode == "ro":
                connection.execute("PRAGMA query_only = ON")
            yield connection
    except sqlite3.Error as error:
        raise told(url, error) from None


def told(url: SqliteUrl, error: sqlite3.Error) -> CannotRead:
    """The failure as a CannotRead."""
    name = getattr(error, "sqlite_errorname", "") or ""
    primary = "_".join(name.split("_")[:2])
    code, sentence = _CODES.get(primary, ("other", "SQLite answered with an error"))
    reason = clean(str(error))[:MAX_REASON].rstrip(".")
    return CannotRead(f"{url.database} could not be read: {sentence}. The reason given: {reason}.", code=code)
