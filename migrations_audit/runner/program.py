"""Execute one approved Alembic run inside the project's interpreter and report what happens, one JSON object a line.

Started by ``migrations_audit.engine.process`` with four numbers: the descriptors of request, events and lifeline, and the
supervisor's process id. Needs Python 3.8, Alembic 1.8 and SQLAlchemy 1.4 or later; imports nothing of the portal, because the
project's interpreter does not have it.

Exit codes: 0 Alembic returned and every planned step ended, 1 it did not, 3 refused before or between steps, 4 nobody listens.
Exit code 0 proves nothing about the database; that is read by another process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import io
import json
import os
import platform
import resource
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NoReturn, Sequence

if TYPE_CHECKING:
    from alembic.config import Config

COMPLETE, INCOMPLETE, REFUSED, UNHEARD = 0, 1, 3, 4

MAX_STATEMENT = 4_000
MAX_MESSAGE = 8_000
MAX_STATEMENT_EVENTS = 10_000  # a data revision may execute millions; after this they are only counted
SQL_PIECE = 200_000
OPEN_FILES = 1_024
HIGH_DESCRIPTOR = 900  # out of reach of code that closes the low ones
FILE_BYTES = 1024**3
PROCESSES = 4_096
LOCK_POLL_S = 0.25

Facts = Dict[str, Any]


def leave(code: int) -> NoReturn:
    """End at once: no handler of the project, no thread that it left behind, nothing that swallows SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


# --- telling the supervisor ---


class Events:
    """The way to the supervisor. A run that cannot report must not go on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._process = os.getpid()
        self._lock = threading.RLock()

    def emit(self, event: str, **facts: Any) -> None:
        if os.getpid() != self._process:  # a fork made by the project must not mix its lines into ours
            return
        line = memoryview(json.dumps({"event": event, **facts}, default=str).encode() + b"\n")
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._descriptor, line) :]
        except OSError:
            leave(UNHEARD)

    def refuse(self, code: str, message: str, **facts: Any) -> NoReturn:
        """Say no and end. Not an exception: env.py could catch it and go on."""
        self.emit("refused", code=code, message=message, **facts)
        leave(REFUSED)


def described(error: BaseException) -> Facts:
    """What an exception tells, without the parameters of its statement. Long text keeps its end, where the reason stands."""
    origin = getattr(error, "orig", None) or error
    statement = getattr(error, "statement", None)
    return {
        "type": type(origin).__name__,
        "sqlstate": sqlstate(error),
        "message": (str(origin) or type(origin).__name__)[-MAX_MESSAGE:],
        "statement": statement[:MAX_STATEMENT] if isinstance(statement, str) else "",
    }


def sqlstate(error: BaseException | None) -> str:
    while error is not None:
        for each in (getattr(error, "orig", None), error):
            code = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None)
            if isinstance(code, str):
                return code
        error = error.__cause__ or error.__context__
    return ""


# --- the process ---


def confine(request: Facts) -> None:
    """Set the limits of this process and of all that it starts, before any code of the project is loaded."""
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NPROC, PROCESSES),  # counted for the whole account, not enforced for root
        (resource.RLIMIT_AS, request["memory_bytes"]),
    ]
    for kind, wanted in limits:
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (value, value))


def die_with(supervisor: int, lifeline: int) -> None:
    """End this process and its group when the supervisor ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != supervisor:
        leave(UNHEARD)

    def watch() -> None:
        os.read(lifeline, 1)  # returns when the last writing end is closed
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def moved_up(descriptor: int) -> int:
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR)
    os.close(descriptor)
    return high


# --- connections ---


def rows(connection: Any, sql: str) -> list[list[Any]]:
    """Execute on a DBAPI connection. It may now be in a transaction; the caller settles that."""
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        found = cursor.fetchall()
    finally:
        cursor.close()
    return [list(row.values()) if isinstance(row, dict) else list(row) for row in found]


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


class Guard:
    """Lets the project connect to the approved database only, with our settings, and keeps the target's lock.

    All that it executes on a connection it ends with commit or rollback: a transaction left open would make Alembic skip its
    own commit.
    """

    def __init__(self, request: Facts, events: Events) -> None:
        self._request = request
        self._events = events
        self._approved: Facts = request["connection"]
        self._asserted: set[int] = set()
        self._lock_holder: Any = None
        self.connections = 0
        self._startup = {
            "application_name": request["application_name"],
            "lock_timeout": str(request["lock_timeout_ms"]),
            "statement_timeout": str(request["statement_timeout_ms"]),
            "idle_in_transaction_session_timeout": str(request["idle_in_transaction_timeout_ms"]),
        }
        # Not every server lets it be set, and as a start-up option it would then refuse the connection.
        interval = request["client_connection_check_interval_ms"]
        self._optional = {"client_connection_check_interval": str(interval)} if interval else {}

    def arm(self) -> None:
        from sqlalchemy import event
        from sqlalchemy.engine.default import DefaultDialect
        from sqlalchemy.pool import Pool

        original = DefaultDialect.connect

        # The last step before the driver. A do_connect listener on Engine would come before those of the project's own engines.
        @functools.wraps(original)
        def connect(dialect: Any, *cargs: Any, **cparams: Any) -> Any:
            arguments = self._bound(dialect, cargs, cparams)
            try:
                connection = original(dialect, *cargs, **arguments)
            except Exception as error:
                self._events.emit("connection_failed", **described(error))
                raise
            self._asserted.add(id(connection))
            return connection

        DefaultDialect.connect = connect  # type: ignore[method-assign]
        event.listen(Pool, "connect", self._connected)  # also sees what a creator= function opened
        event.listen(Pool, "close", self._closed)
        event.listen(Pool, "close_detached", self._closed)

    def _bound(self, dialect: Any, cargs: Sequence[Any], cparams: Facts) -> Facts:
        """Return the driver's arguments for the approved database, if that is the one asked for."""
        approved = self._approved
        self._refuse_offline()
        asked = (
            dialect.name,
            str(cparams.get("host") or "").lower(),
            str(cparams.get("port") or 5432),
            str(cparams.get("dbname") or cparams.get("database") or ""),
            str(cparams.get("user") or ""),
        )
        wanted = ("postgresql", approved["host"].lower(), str(approved["port"]), approved["database"], approved["user"])
        detours = [name for name in ("hostaddr", "service", "dsn", "conninfo", "unix_sock") if cparams.get(name)]
        if asked != wanted or detours or any(cargs):
            # Positional arguments are not repeated: they may be a whole connection string.
            place = "{4}@{1}:{2}/{3}".format(*asked) if dialect.name == "postgresql" else f"a database of {dialect.name}"
            by = f" by {', '.join(detours) or 'a connection string'}" if detours or any(cargs) else ""
            self._events.refuse(
                "wrong_target",
                f"The project asked for {place}{by}, approved is {'{4}@{1}:{2}/{3}'.format(*wanted)}. "
                "Nothing was connected. Correct how the project takes its database URL.",
            )
        return self._with_settings(dialect.driver, dict(cparams))

    def _with_settings(self, driver: str, arguments: Facts) -> Facts:
        approved = self._approved
        if approved["password"]:  # without one the project fetches its own, a token for example
            arguments["password"] = approved["password"]
        if driver.startswith("psycopg"):
            arguments.update(approved["parameters"])
            arguments.update(hostaddr="", target_session_attrs="any")  # else taken from PG* variables that env.py sets
            options = [f"-c {name}={value}" for name, value in self._startup.items() if name != "application_name"]
            arguments["options"] = " ".join([arguments.get("options") or "", *options]).strip()
            arguments["application_name"] = self._startup["application_name"]
        elif driver == "asyncpg":
            arguments["server_settings"] = {**(arguments.get("server_settings") or {}), **self._startup}
            if "sslmode" in approved["parameters"]:
                arguments.setdefault("ssl", approved["parameters"]["sslmode"])
        elif driver == "pg8000":
            arguments["application_name"] = self._startup["application_name"]
        return arguments

    def _refuse_offline(self) -> None:
        if self._request["offline_range"]:
            self._events.refuse("connection_in_offline_mode", "The project opens a database connection to write its SQL.")

    def _connected(self, connection: Any, record: Any) -> None:
        self._refuse_offline()
        self.connections += 1
        asserted = id(connection) in self._asserted
        self._asserted.discard(id(connection))
        try:
            self._check(connection, record, asserted)
            if self._lock_holder is None:
                self._take_lock(connection, settle=connection.rollback)
                self._compare_start(connection)
        except Exception as error:  # noqa: BLE001  whatever it is, the connection must not be used
            told = described(error)
            self._events.refuse("not_checked", f"The new connection could not be checked: {told['message']}", **told_only(told))
        finally:
            connection.rollback()

    def _check(self, connection: Any, record: Any, asserted: bool) -> None:
        pid, database, oid, user, standby, system, version = rows(
            connection,
            "SELECT pg_backend_pid(), current_database(), (SELECT CAST(oid AS bigint) FROM pg_database"
            " WHERE datname = current_database()), session_user, pg_is_in_recovery(),"
            " (SELECT CAST(system_identifier AS text) FROM pg_control_system()), current_setting('server_version')",
        )[0]
        found = {"system_identifier": system, "database_oid": oid, "database": database}
        if found != self._request["expected"] or not (asserted or user == self._approved["user"]):
            self._events.refuse(
                "wrong_identity",
                f"The server that answered is not the approved database: found {database} (oid {oid}, system {system}) as {user}. "
                "Nothing was changed. Check where the address leads, then plan again.",
                found=found,
            )
        if standby:
            self._events.refuse("standby", "The server that answered is a standby, which only reads. Name the primary.")
        dialled = protocol_pid(record)
        if dialled not in (None, pid):
            self._events.refuse("pooler", "A connection pooler stands before the server. Use a direct address for runs.")
        settings = self._settings(connection)
        for name, value in {**self._startup, **self._optional}.items():
            if settings.get(name) != value:
                self._set(connection, name, value)
        settings = self._settings(connection)
        lost = [name for name, value in self._startup.items() if settings.get(name) != value]
        if lost:
            self._events.refuse("settings_not_in_force", f"The server did not accept our {', '.join(lost)}.", settings=settings)
        self._events.emit(
            "connected", **found, user=user, driver=type(connection).__module__.split(".")[0], backend_pid=pid,
            server_version=version, number=self.connections, settings=settings,
        )  # fmt: skip

    def _settings(self, connection: Any) -> dict[str, str]:
        names = ", ".join(map(literal, [*self._startup, *self._optional]))
        found = rows(connection, f"SELECT name, setting FROM pg_settings WHERE name IN ({names})")  # noqa: S608
        connection.rollback()
        return {name: value for name, value in found}

    def _set(self, connection: Any, name: str, value: str) -> None:
        try:
            rows(connection, f"SELECT set_config({literal(name)}, {literal(value)}, false)")
            connection.commit()
        except Exception:  # noqa: BLE001  what is in force is read back afterwards
            connection.rollback()

    def keep_lock(self, connection: Any) -> None:
        """Take the lock again if the session that held it was closed; without settling, for a step may have begun."""
        if self._lock_holder is None:
            self._take_lock(connection, settle=lambda: None)

    def _take_lock(self, connection: Any, *, settle: Callable[[], None]) -> None:
        """Poll for the lock: a session that blocks in pg_advisory_lock makes CREATE INDEX CONCURRENTLY wait for it."""
        high, low = self._request["lock_key"]
        began = told = time.monotonic()
        while not rows(connection, f"SELECT pg_try_advisory_lock({int(high)}, {int(low)})")[0][0]:
            settle()
            now = time.monotonic()
            waited = {"waited_ms": round((now - began) * 1000)}
            if now - began >= self._request["lock_budget_s"]:
                holder = self._holder(connection)
                self._events.refuse(
                    "lock_busy",
                    f"The target's lock was not free for {self._request['lock_budget_s']} s; held by {holder or 'nobody now'}. "
                    "Nothing was changed.",
                    holder=holder, **waited,
                )  # fmt: skip
            if told == began or now - told >= 1:
                told = now
                self._events.emit("lock_waiting", holder=self._holder(connection), **waited)
                settle()
            time.sleep(LOCK_POLL_S)
        settle()
        self._lock_holder = connection
        self._events.emit("lock_taken", waited_ms=round((time.monotonic() - began) * 1000))

    def _holder(self, connection: Any) -> Facts:
        high, low = (int(part) & 0xFFFFFFFF for part in self._request["lock_key"])
        found = rows(
            connection,
            "SELECT a.pid, a.application_name, a.usename, CAST(extract(epoch FROM now() - a.backend_start) AS int)"  # noqa: S608
            " FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid"
            f" WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {high} AND l.objid = {low} AND l.objsubid = 2"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        return dict(zip(("pid", "application_name", "user", "session_age_s"), found[0])) if found else {}

    def _closed(self, connection: Any, record: Any = None) -> None:
        if connection is self._lock_holder:
            self._lock_holder = None

    def _compare_start(self, connection: Any) -> None:
        names = [self._request["version_table_schema"], self._request["version_table"]]
        table = ".".join('"' + name.replace('"', '""') + '"' for name in names if name)
        found: list[str] = []
        if rows(connection, f"SELECT CAST(to_regclass({literal(table)}) AS text)")[0][0] is not None:
            found = sorted(row[0] for row in rows(connection, f"SELECT version_num FROM {table}"))  # noqa: S608
        self.refuse_other_start(found)

    def refuse_other_start(self, found: Sequence[str], expected: Sequence[str] | None = None) -> None:
        wanted = sorted(self._request["start"] if expected is None else expected)
        if sorted(found) != wanted:
            self._events.refuse(
                "start_changed",
                f"The database is at {', '.join(found) or 'base'}, the plan starts at {', '.join(wanted) or 'base'}. Plan again.",
                found=sorted(found), expected=wanted,
            )  # fmt: skip


def told_only(told: Facts) -> Facts:
    return {name: told[name] for name in ("type", "sqlstate")}


def protocol_pid(record: Any) -> int | None:
    """The backend's id as the wire protocol gave it. A pooler hands out its own."""
    driver = getattr(record, "driver_connection", None)
    pid = getattr(getattr(driver, "info", None), "backend_pid", None)
    if pid is None and hasattr(driver, "get_server_pid"):
        pid = driver.get_server_pid()
    return pid if isinstance(pid, int) else None


# --- steps, statements and commits ---


class Watch:
    """Compares what Alembic is about to do with the plan, then reports each step, statement and commit."""

    def __init__(self, request: Facts, events: Events, guard: Guard) -> None:
        self._events = events
        self._guard = guard
        self._table = (request["version_table_schema"], request["version_table"])
        self.remaining: list[list[str]] = [list(step) for step in request["steps"]]
        self.last_call = True
        self._heads: list[str] = list(request["start"])
        self._position = 0
        self._step: Facts | None = None
        self._statements = 0
        self._started_at = 0.0
        self._version_writer: Any = None
        self.told: Facts = {
            "steps_ended": 0, "version_writes": 0, "commits": 0, "statements": 0, "autocommit_blocks": 0,
            "external_transaction": False, "commit_after_version": False,
        }  # fmt: skip

    def arm(self) -> None:
        from alembic.runtime.migration import MigrationContext
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sqlalchemy.engine.default import DefaultDialect

        run_migrations, autocommit_block = MigrationContext.run_migrations, MigrationContext.autocommit_block
        do_commit = DefaultDialect.do_commit

        @functools.wraps(run_migrations)
        def watched_run(context: Any, **kw: Any) -> None:
            if not context.as_sql:
                self._check_plan(context)
            run_migrations(context, **kw)

        @contextlib.contextmanager
        def watched_block(context: Any) -> Iterator[None]:
            self.told["autocommit_blocks"] += 1
            self._tell("autocommit_entered")
            with autocommit_block(context):
                yield
            self._tell("autocommit_left")

        @functools.wraps(do_commit)
        def watched_commit(dialect: Any, connection: Any) -> None:
            began = time.monotonic()
            do_commit(dialect, connection)
            self._committed(inner(connection), began)

        MigrationContext.run_migrations = watched_run  # type: ignore[method-assign]
        MigrationContext.autocommit_block = watched_block  # type: ignore[method-assign,assignment]
        # SQLAlchemy's own commit event comes before the COMMIT, which may still fail.
        DefaultDialect.do_commit = watched_commit  # type: ignore[method-assign]
        event.listen(Engine, "rollback", self._rolled_back)
        event.listen(Engine, "before_cursor_execute", self._statement_started)
        event.listen(Engine, "after_cursor_execute", self._statement_ended)
        event.listen(Engine, "handle_error", self._statement_failed)
