"""What SQLite does in its own way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from typing import Any

from . import confining, dbapi, telling


class SQLite:
    """What SQLite does in its own way: the database is a file, and the run lock is one beside it."""

    def __init__(self, request: telling.Facts, events: telling.Events) -> None:
        self._request = request
        self._events = events
        self._lock: int | None = None

    @property
    def approved(self) -> str:
        return str(self._request["connection"]["database"])

    def elsewhere(self, dialect: Any, cargs: Sequence[Any], cparams: telling.Facts) -> str:
        """What the project asks for, in words; nothing when that is the approved file."""
        if dialect.name != "sqlite":
            return f"a database of {dialect.name}"
        asked = str(cargs[0] if cargs else cparams.get("database") or "")
        if cparams.get("uri"):
            return "a SQLite URI"  # its parameters could lead anywhere
        same = asked not in ("", ":memory:") and os.path.realpath(asked) == os.path.realpath(self.approved)
        return "" if same else asked or "a database without a file"

    def arguments(self, driver: str, arguments: telling.Facts) -> telling.Facts:
        """The driver's arguments with our wait for locks."""
        return {**arguments, "timeout": (self._request["lock_timeout_ms"] or dbapi.LONGEST_WAIT_S * 1000) / 1000}

    def check(self, connection: Any, asserted: bool) -> telling.Facts:
        """What is told of a new connection, or a refusal."""
        path = next((row[2] for row in dbapi.rows(connection, "PRAGMA database_list") if row[1] == "main"), "")
        try:
            system = f"inode {os.stat(path).st_ino}"
        except OSError:
            system = "no file"
        same = os.path.realpath(path) == os.path.realpath(self.approved)
        if not same or system != self._request["expected"]["system_identifier"]:
            self._events.refuse(
                "wrong_identity",
                f"The file is not the approved one: found {path or 'none'} ({system}). It was not used. "
                "Check where the path leads, then plan again.",
                found={"system_identifier": system, "database_oid": 0, "database": path},
            )
        wanted = self._request["lock_timeout_ms"] or dbapi.LONGEST_WAIT_S * 1000
        if dbapi.rows(connection, "PRAGMA busy_timeout")[0][0] != wanted:
            dbapi.rows(connection, f"PRAGMA busy_timeout = {int(wanted)}")
        settings = {"busy_timeout": str(dbapi.rows(connection, "PRAGMA busy_timeout")[0][0])}
        if settings["busy_timeout"] != str(wanted):
            self._events.refuse("settings_not_in_force", "SQLite did not take our busy_timeout.", settings=settings)
        return {
            **self._request["expected"], "user": "", "backend_pid": os.getpid(), "session": "", "engine": "SQLite",
            "server_version": dbapi.rows(connection, "SELECT sqlite_version()")[0][0], "settings": settings,
        }  # fmt: skip

    def try_lock(self, connection: Any) -> bool:
        """Lock the file beside the database. A fork of this process holds the lock too, a program that it starts does not."""
        if self._lock is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = confining.moved_up(os.open(self._request["lock_name"], flags, 0o660))
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, self._request["application_name"].encode(), 0)
        return True

    def unlock(self, connection: Any) -> None:
        """The process keeps it to its end: whichever of its connections works, nobody else may."""

    def holder(self, connection: Any) -> telling.Facts:
        written = (
            os.pread(self._lock, telling.MAX_STATEMENT, 0).decode(errors="replace") if self._lock is not None else ""
        )
        return {"pid": 0, "application_name": written, "user": "", "session_age_s": 0}

    def version_rows(self, connection: Any) -> list[str]:
        name = self._request["version_table"]
        query = f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower({dbapi.literal(name)})"  # noqa: S608
        if not dbapi.rows(connection, query):
            return []
        return [row[0] for row in dbapi.rows(connection, f"SELECT version_num FROM {dbapi.quoted((name,), chr(34))}")]  # noqa: S608

    def idle(self, connection: Any) -> bool:
        """Whether the driver says that no transaction is open."""
        return not getattr(dbapi.driver_connection(connection), "in_transaction", True)
