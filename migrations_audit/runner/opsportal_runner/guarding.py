"""Binds the project to the approved database, and keeps the target's lock in the session that migrates."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import failures, mariadb, postgresql, sqlite, telling

LOCK_POLL_S = 0.25
SERVERS: dict[str, Callable[[telling.Facts, telling.Events], Any]] = {
    "postgresql": postgresql.PostgreSQL,
    "mariadb": mariadb.MariaDB,
    "sqlite": sqlite.SQLite,
}


class Guard:
    """Lets the project connect to the approved database only, with our settings, and keeps the target's lock.

    A new connection is handed over outside a transaction: in one that somebody else began, Alembic skips its own commit.
    """

    def __init__(self, request: telling.Facts, events: telling.Events, word: int) -> None:
        self._request = request
        self._events = events
        self._word = word
        self._server = SERVERS[request["connection"]["engine"]](request, events)
        self._asserted: set[int] = set()  # connections whose arguments were looked at
        self._lock_holder: Any = None
        self.revisions: Sequence[str] = request["start"]  # what the version table has to hold at this moment
        self.connections = 0

    def arm(self) -> None:
        from sqlalchemy import event
        from sqlalchemy.engine.default import DefaultDialect
        from sqlalchemy.pool import Pool

        dialects: Any = DefaultDialect
        driver_connect = dialects.connect

        # The last step before the driver. A do_connect listener on the Engine class runs before those of the project's engines.
        def connect(dialect: Any, *cargs: Any, **cparams: Any) -> Any:
            arguments = self._bound(dialect, cargs, cparams)
            try:
                connection = driver_connect(dialect, *cargs, **arguments)
            except Exception as error:
                self._events.emit("connection_failed", **failures.described(error))
                raise
            self._asserted.add(id(connection))
            return connection

        dialects.connect = connect
        event.listen(Pool, "connect", self._connected)  # also sees what a creator= function opened
        event.listen(Pool, "close", self._closed)
        event.listen(Pool, "close_detached", self._closed)

    def _bound(self, dialect: Any, cargs: Sequence[Any], cparams: telling.Facts) -> telling.Facts:
        """The driver's arguments for the approved database, if that is the one asked for."""
        self._refuse_in_a_fork()
        self._refuse_offline()
        elsewhere = self._server.elsewhere(dialect, cargs, cparams)
        if elsewhere:
            self._events.refuse(
                "wrong_target",
                f"The project asked for {elsewhere}; approved is {self._server.approved}. "
                "It was not connected to. Correct how the project takes its database URL.",
            )
        arguments: telling.Facts = self._server.arguments(dialect.driver, cparams)
        return arguments

    def _refuse_offline(self) -> None:
        if self._request["offline_range"]:
            self._events.refuse(
                "connection_in_offline_mode", "The project opens a database connection to write its SQL."
            )

    def _refuse_in_a_fork(self) -> None:
        """Nobody hears a fork: it would wait for the word for ever, or take the one that was meant for this process."""
        if self._events.in_a_fork:
            sys.stderr.write("A process that the run forked may not connect to the database.\n")
            telling.leave(telling.UNHEARD)

    def _connected(self, connection: Any, record: Any) -> None:
        self._refuse_in_a_fork()
        self._refuse_offline()
        self.connections += 1
        asserted = id(connection) in self._asserted
        self._asserted.discard(id(connection))
        try:
            facts = self._server.check(connection, asserted)
            self._events.emit("connected", driver=type(connection).__module__, number=self.connections, **facts)
            if self._lock_holder is None:
                waited_ms = self._take_lock(connection, settle=connection.rollback)
                self.refuse_other_start(self._server.version_rows(connection))
                self._events.emit("lock_taken", waited_ms=waited_ms)
            connection.rollback()
            self._await_word()
        except Exception as error:  # noqa: BLE001  whatever it is, this connection must not be used
            told = failures.described(error)
            self._events.refuse(
                "not_checked", f"The new connection could not be checked: {told['message']}", sqlstate=told["sqlstate"]
            )

    def _await_word(self) -> None:
        """Hand no connection to the project before the supervisor has confirmed that the run is still its own.

        A host that slept between the claim and this moment would otherwise work for a run that somebody else has ended.
        """
        self._events.emit("ready", number=self.connections)
        if os.read(self._word, 1) != b"g":
            telling.leave(telling.UNHEARD)

    def move_lock(self, connection: Any) -> None:
        """Let the migrating session hold the lock: another one may be closed, or ended by a timeout, while this one works."""
        holder = self._lock_holder
        if holder is connection:
            return
        if holder is not None:
            was_idle = self._server.idle(holder)
            with contextlib.suppress(Exception):  # a session that is gone holds no lock
                self._server.unlock(holder)
                if was_idle:
                    holder.rollback()
        waited_ms = self._take_lock(connection, settle=lambda: None)  # a step's transaction may be open
        self._events.emit("lock_taken", waited_ms=waited_ms)

    def is_idle(self, connection: Any) -> bool:
        """Whether a statement that just ended in this session left no transaction open."""
        return bool(self._server.idle(connection))

    def _take_lock(self, connection: Any, *, settle: Callable[[], None]) -> int:
        began, told = time.monotonic(), 0.0
        while not self._server.try_lock(connection):
            now = time.monotonic()
            holder, waited_ms = self._server.holder(connection), round((now - began) * 1000)
            settle()
            if now - began >= self._request["lock_budget_s"]:
                who = "{application_name} as {user}, session {pid}".format(**holder) if holder else "nobody now"
                message = f"The target's lock was not free in time; held by {who}."
                self._events.refuse("lock_busy", message, holder=holder, waited_ms=waited_ms)
            if now - told >= 1:
                told = now
                self._events.emit("lock_waiting", holder=holder, waited_ms=waited_ms)
            time.sleep(LOCK_POLL_S)
        settle()
        self._lock_holder = connection
        return round((time.monotonic() - began) * 1000)

    def _closed(self, connection: Any, record: Any = None) -> None:
        if connection is self._lock_holder:
            self._lock_holder = None

    def refuse_other_start(self, found: Sequence[str]) -> None:
        if sorted(found) != sorted(self.revisions):
            at, planned = (", ".join(sorted(revisions)) or "base" for revisions in (found, self.revisions))
            self._events.refuse(
                "start_changed", f"The database is at {at}, the plan needs {planned}. Plan again.", found=sorted(found)
            )
