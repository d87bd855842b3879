"""Execute one approved Alembic run inside the project's interpreter and tell what happens, one JSON object a line.

Started by ``migrations_audit.engine.process`` with four numbers: the descriptors of request, events and lifeline, and the
supervisor's process id. Needs Python 3.8, Alembic 1.8 and SQLAlchemy 1.4 or later; imports nothing of the portal, because the
project's interpreter does not have it.

Exit codes: 0 Alembic returned and every planned step ended, 1 it did not, 3 refused, 4 nobody listens any more.
Exit code 0 proves nothing about the database; another process reads that.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import io
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    Facts = dict[str, Any]

COMPLETE, INCOMPLETE, REFUSED, UNHEARD = 0, 1, 3, 4

MAX_STATEMENT = 4_000
MAX_MESSAGE = 8_000
MAX_STATEMENT_EVENTS = 10_000  # a data revision may execute millions; the rest is only counted
SQL_PIECE = 200_000
OPEN_FILES = 1_024
FILE_BYTES = 1024**3
PROCESSES = 4_096
LOCK_POLL_S = 0.25


def leave(code: int) -> NoReturn:
    """End at once: no exit handler of the project, no thread that it left behind, nothing that catches SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


# --- telling the supervisor ---


class Events:
    """The way to the supervisor. A run that cannot tell must not go on."""

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
        """Say no and end. Not an exception, because env.py could catch it and go on."""
        self.emit("refused", code=code, message=message, **facts)
        leave(REFUSED)


def described(error: BaseException) -> Facts:
    """What an exception tells, without its statement's parameters. A long message keeps its end, where the reason stands."""
    origin = getattr(error, "orig", None) or error
    statement = getattr(error, "statement", None)
    message = f"The project called sys.exit({error.code!r})." if isinstance(error, SystemExit) else str(origin)
    return {
        "type": type(origin).__name__,
        "sqlstate": sqlstate(error),
        "message": message[-MAX_MESSAGE:] or type(origin).__name__,
        "statement": statement[:MAX_STATEMENT] if isinstance(statement, str) else "",
    }


def chain(error: BaseException) -> list[BaseException]:
    """The exception and those behind it. One may name itself as its cause."""
    found = [error]
    while (behind := found[-1].__cause__ or found[-1].__context__) and behind not in found:
        found.append(behind)
    return found


def sqlstate(error: BaseException) -> str:
    for each in chain(error):
        for origin in (getattr(each, "orig", None), each):
            code = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
            if isinstance(code, str):
                return code
    return ""


def place(error: BaseException) -> str:
    """The last line of the project's own files that the exception came through."""
    here = os.getcwd() + os.sep
    inside = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)]
    return f"{inside[-1].filename[len(here) :]}:{inside[-1].lineno}" if inside else ""


# --- the process ---


def die_with(supervisor: int, lifeline: int) -> None:
    """End this process and its group when the supervisor ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != supervisor:
        leave(UNHEARD)

    def watch() -> None:
        os.read(lifeline, 1)  # returns when the supervisor's end is closed
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def confine(memory_bytes: int) -> None:
    """Limit this process and all that it starts, before any code of the project is loaded."""
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NPROC, PROCESSES),  # counts the whole account; not enforced for root
        (resource.RLIMIT_AS, memory_bytes),
    ):
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (value, value))


def first_line(descriptor: int) -> bytes:
    """The request, and nothing of what the supervisor says later on the same pipe."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65_536)
        if not piece:
            leave(UNHEARD)
        line += piece
    return bytes(line)


def moved_up(descriptor: int) -> int:
    """A copy out of reach of code that closes the low descriptors, and closed in every program that the project starts."""
    lowest = min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0]) - 64
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(descriptor)
    return high


# --- connections ---


def rows(connection: Any, sql: str) -> list[list[Any]]:
    """Execute on a DBAPI connection, which may be in a transaction afterwards."""
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(sql)
        return [list(row) for row in cursor.fetchall()]


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def inner(connection: Any) -> Any:
    """The DBAPI connection inside what the pool hands out."""
    return getattr(connection, "dbapi_connection", connection)


def driver_connection(connection: Any) -> Any:
    """The driver's own connection inside SQLAlchemy's adapter for asynchronous drivers."""
    return getattr(connection, "driver_connection", connection)


def protocol_pid(connection: Any) -> Any:
    """The backend's id as the wire protocol gave it. A pooler gives its own."""
    driver = driver_connection(connection)
    if hasattr(driver, "get_server_pid"):  # asyncpg
        return driver.get_server_pid()
    return getattr(getattr(driver, "info", None), "backend_pid", None)


def idle(connection: Any) -> bool:
    """Whether the driver says that no transaction is open."""
    driver = driver_connection(connection)
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return not driver.is_in_transaction()
    return getattr(getattr(driver, "info", None), "transaction_status", None) == 0


class Guard:
    """Lets the project connect to the approved database only, with our settings, and keeps the target's lock.

    A new connection is handed over outside a transaction: in one that somebody else began, Alembic skips its own commit.
    """

    def __init__(self, request: Facts, events: Events, word: int) -> None:
        self._request = request
        self._events = events
        self._word = word
        self._approved: Facts = request["connection"]
        self._asserted: set[int] = set()  # connections whose arguments were looked at
        self._lock_holder: Any = None
        self.revisions: Sequence[str] = request["start"]  # what the version table has to hold at this moment
        self.connections = 0
        self._startup = {
            "application_name": request["application_name"],
            "lock_timeout": str(request["lock_timeout_ms"]),
            "statement_timeout": str(request["statement_timeout_ms"]),
            "idle_in_transaction_session_timeout": str(request["idle_in_transaction_timeout_ms"]),
        }
        # Some servers do not let it be set; asked for at start-up it would cost the connection.
        interval = request["client_connection_check_interval_ms"]
        self._optional = {"client_connection_check_interval": str(interval)} if interval else {}

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
                self._events.emit("connection_failed", **described(error))
                raise
            self._asserted.add(id(connection))
            return connection

        dialects.connect = connect
        event.listen(Pool, "connect", self._connected)  # also sees what a creator= function opened
        event.listen(Pool, "close", self._closed)
        event.listen(Pool, "close_detached", self._closed)

    def _bound(self, dialect: Any, cargs: Sequence[Any], cparams: Facts) -> Facts:
        """The driver's arguments for the approved database, if that is the one asked for."""
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
        detours += ["a connection string"] if any(cargs) else []  # not repeated: it may hold a password
        if asked != wanted or detours:
            where = (
                "{4}@{1}:{2}/{3}".format(*asked) if dialect.name == "postgresql" else f"a database of {dialect.name}"
            )
            self._events.refuse(
                "wrong_target",
                f"The project asked for {' and '.join([where, *detours])}; approved is {'{4}@{1}:{2}/{3}'.format(*wanted)}. "
                "It was not connected to. Correct how the project takes its database URL.",
            )
        return self._with_settings(dialect.driver, cparams)

    def _with_settings(self, driver: str, arguments: Facts) -> Facts:
        approved, application_name = self._approved, self._startup["application_name"]
        if approved["password"]:  # without one the project fetches its own, a token for example
            arguments["password"] = approved["password"]
        if driver.startswith("psycopg"):
            ours = [f"-c {name}={value}" for name, value in self._startup.items() if name != "application_name"]
            options = " ".join([arguments.get("options") or "", *ours]).strip()
            # The empty values keep libpq from taking its own out of PG* variables that env.py may set.
            arguments.update(approved["parameters"], hostaddr="", target_session_attrs="any")
            arguments.update(application_name=application_name, options=options)
        elif driver == "asyncpg":
            arguments["server_settings"] = {**(arguments.get("server_settings") or {}), **self._startup}
            if "sslmode" in approved["parameters"] and isinstance(arguments.get("ssl"), (str, bool, type(None))):
                arguments["ssl"] = approved["parameters"]["sslmode"]
        elif driver == "pg8000":
            arguments["application_name"] = application_name
        return arguments

    def _refuse_offline(self) -> None:
        if self._request["offline_range"]:
            self._events.refuse(
                "connection_in_offline_mode", "The project opens a database connection to write its SQL."
            )

    def _connected(self, connection: Any, record: Any) -> None:
        self._refuse_offline()
        self.connections += 1
        asserted = id(connection) in self._asserted
        self._asserted.discard(id(connection))
        try:
            self._check(connection, asserted)
            if self._lock_holder is None:
                waited_ms = self._take_lock(connection, settle=connection.rollback)
                self._compare_start(connection)
                self._events.emit("lock_taken", waited_ms=waited_ms)
            connection.rollback()
            self._await_word()
        except Exception as error:  # noqa: BLE001  whatever it is, this connection must not be used
            told = described(error)
            self._events.refuse(
                "not_checked", f"The new connection could not be checked: {told['message']}", sqlstate=told["sqlstate"]
            )

    def _await_word(self) -> None:
        """Hand no connection to the project before the supervisor has confirmed that the run is still its own.

        A host that slept between the claim and this moment would otherwise work for a run that somebody else has ended.
        """
        self._events.emit("ready", number=self.connections)
        if os.read(self._word, 1) != b"g":
            leave(UNHEARD)

    def _check(self, connection: Any, asserted: bool) -> None:
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
                f"The server is not the approved one: found database {database} (oid {oid}, system {system}) as {user}. "
                "It was not used. Check where the address leads, then plan again.",
                found=found,
            )
        if standby:
            self._events.refuse("standby", "The server that answered is a standby, which only reads. Name the primary.")
        if protocol_pid(connection) not in (None, pid):
            self._events.refuse(
                "pooler", "A connection pooler stands before the server. Use a direct address for runs."
            )
        settings = self._settings_in_force(connection)
        self._events.emit(
            "connected", **found, user=user, driver=type(connection).__module__, backend_pid=pid, server_version=version,
            number=self.connections, settings=settings,
        )  # fmt: skip

    def _settings_in_force(self, connection: Any) -> dict[str, str]:
        """Set what the driver could not pass on, then read everything back."""
        wanted = {**self._startup, **self._optional}
        query = f"SELECT name, setting FROM pg_settings WHERE name IN ({', '.join(map(literal, wanted))})"  # noqa: S608
        before = dict(rows(connection, query))
        for name in [name for name in wanted if before.get(name) != wanted[name]]:
            try:
                rows(connection, f"SELECT set_config({literal(name)}, {literal(wanted[name])}, false)")
                connection.commit()  # without it the setting would be lost again
            except Exception:  # noqa: BLE001  what is in force is read next
                connection.rollback()
        settings = dict(rows(connection, query))
        lost = [name for name in self._startup if settings.get(name) != wanted[name]]
        if lost:
            self._events.refuse(
                "settings_not_in_force", f"The server did not take our {', '.join(lost)}.", settings=settings
            )
        return settings

    def move_lock(self, connection: Any) -> None:
        """Let the migrating session hold the lock: another one may be closed, or ended by a timeout, while this one works."""
        holder = self._lock_holder
        if holder is connection:
            return
        if holder is not None:
            was_idle = idle(holder)
            with contextlib.suppress(Exception):  # a session that is gone holds no lock
                rows(
                    holder,
                    f"SELECT pg_advisory_unlock({', '.join(str(int(part)) for part in self._request['lock_key'])})",
                )
                if was_idle:
                    holder.rollback()
        waited_ms = self._take_lock(connection, settle=lambda: None)  # a step's transaction may be open
        self._events.emit("lock_taken", waited_ms=waited_ms)

    def _take_lock(self, connection: Any, *, settle: Callable[[], None]) -> int:
        """Poll for the lock: a session that waits inside pg_advisory_lock makes CREATE INDEX CONCURRENTLY hang."""
        high, low = map(int, self._request["lock_key"])
        began, told = time.monotonic(), 0.0
        while not rows(connection, f"SELECT pg_try_advisory_lock({high}, {low})")[0][0]:
            now = time.monotonic()
            holder, waited_ms = self._holder(connection), round((now - began) * 1000)
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

    def _holder(self, connection: Any) -> Facts:
        high, low = (int(part) & 0xFFFFFFFF for part in self._request["lock_key"])
        found = rows(
            connection,
            "SELECT a.pid, a.application_name, a.usename, CAST(extract(epoch FROM now() - a.backend_start) AS int)"  # noqa: S608
            " FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid"
            f" WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {high} AND l.objid = {low} AND l.objsubid = 2"
            " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        names = ("pid", "application_name", "user", "session_age_s")
        return dict(zip(names, found[0])) if found else {}  # noqa: B905  strict= needs Python 3.10

    def _closed(self, connection: Any, record: Any = None) -> None:
        if connection is self._lock_holder:
            self._lock_holder = None

    def _compare_start(self, connection: Any) -> None:
        names = (self._request["version_table_schema"], self._request["version_table"])
        table = ".".join('"' + name.replace('"', '""') + '"' for name in names if name)
        found: list[str] = []
        if rows(connection, f"SELECT CAST(to_regclass({literal(table)}) AS text)")[0][0] is not None:
            found = [row[0] for row in rows(connection, f"SELECT version_num FROM {table}")]  # noqa: S608
        self.refuse_other_start(found)

    def refuse_other_start(self, found: Sequence[str]) -> None:
        if sorted(found) != sorted(self.revisions):
            at, planned = (", ".join(sorted(revisions)) or "base" for revisions in (found, self.revisions))
            self._events.refuse(
                "start_changed", f"The database is at {at}, the plan needs {planned}. Plan again.", found=sorted(found)
            )


# --- steps, statements and commits ---


class Watch:
    """Compares what Alembic is about to do with the plan, then tells each step, statement and commit."""

    def __init__(self, request: Facts, events: Events, guard: Guard) -> None:
        self._events = events
        self._guard = guard
        self._table = (request["version_table_schema"], request["version_table"])
        self.remaining: list[list[str]] = request["steps"]
        self.last_call = True
        self.step: Facts = {}
        self._position = 0
        self._statement: Facts = {}
        self._began = 0.0
        self._version_writer: Any = None
        self.told: Facts = dict.fromkeys(
            ("steps_ended", "version_writes", "commits", "statements", "autocommit_blocks"), 0
        )
        self.told.update(external_transaction=False, commit_after_version=False)

    def arm(self) -> None:
        from alembic.runtime.migration import MigrationContext
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        from sqlalchemy.engine.default import DefaultDialect

        contexts: Any = MigrationContext
        dialects: Any = DefaultDialect
        run_migrations, autocommit_block = contexts.run_migrations, contexts.autocommit_block
        do_commit = dialects.do_commit

        def watched_run(context: Any, **kw: Any) -> None:
            if not context.as_sql:
                self._prepare(context)
            run_migrations(context, **kw)

        @contextlib.contextmanager
        def watched_block(context: Any) -> Iterator[None]:
            self.told["autocommit_blocks"] += 1
            self._events.emit("autocommit_entered", **self.step)
            with autocommit_block(context):
                yield
            self._events.emit("autocommit_left", **self.step)

        # SQLAlchemy's own event comes before the COMMIT, which may still fail.
        def watched_commit(dialect: Any, connection: Any) -> None:
            do_commit(dialect, connection)
            self._committed(inner(connection))

        contexts.run_migrations, contexts.autocommit_block = watched_run, watched_block
        dialects.do_commit = watched_commit
        event.listen(Engine, "rollback", self._rolled_back)
        event.listen(Engine, "before_cursor_execute", self._statement_started)
        event.listen(Engine, "after_cursor_execute", self._statement_ended)
        event.listen(Engine, "handle_error", self._statement_failed)

    def _prepare(self, context: Any) -> None:
        """Compare with the plan before Alembic creates its version table, then follow its steps."""
        settle_order(context)
        plan, heads = context._migrations_fn, context.get_current_heads()
        self._guard.refuse_other_start(heads)
        steps = [
            [step.revision.revision, "upgrade" if step.is_upgrade else "downgrade"] for step in plan(heads, context)
        ]
        expected = self.remaining if self.last_call else self.remaining[: len(steps)]
        if steps != expected:
            would, approved = (", ".join(step[0] for step in each)[:400] or "nothing" for each in (steps, expected))
            self._events.refuse(
                "plan_differs", f"Alembic would do {would}; approved is {approved}.", steps=steps[:1000]
            )
        schema = context.dialect.default_schema_name
        table = [context.version_table_schema or schema, context.version_table]
        if table != [self._table[0] or schema, self._table[1]]:
            self._events.refuse(
                "plan_differs", f"The project notes its revisions in {'.'.join(table)}, which nobody read."
            )
        external = bool(getattr(context, "_in_external_transaction", False))
        self.told["external_transaction"] |= external
        self._events.emit(
            "context", heads=list(heads), steps=len(steps), external_transaction=external,
            transaction_per_migration=bool(getattr(context, "_transaction_per_migration", False)),
        )  # fmt: skip
        context.on_version_apply_callbacks = (*context.on_version_apply_callbacks, self._version_written)
        context._migrations_fn = functools.partial(self._steps, plan)

    def _steps(self, plan: Callable[..., Any], heads: Any, context: Any) -> Iterator[Any]:
        for step in plan(heads, context):
            self._guard.move_lock(inner(context.connection.connection))
            self._position += 1
            revision, direction = self.remaining[0]
            self.step = {"position": self._position, "revision": revision, "direction": direction}
            before, began = self.told["statements"], time.monotonic()
            self._events.emit("step_started", **self.step)
            yield step  # Alembic comes back when the step's own transaction block is over, not when it fails
            spent = {"ms": round((time.monotonic() - began) * 1000), "statements": self.told["statements"] - before}
            self._events.emit("step_ended", **self.step, **spent)
            self.told["steps_ended"] += 1
            self.remaining, self.step = self.remaining[1:], {}

    def _version_written(self, ctx: Any, heads: Any, **_: Any) -> None:
        self._guard.revisions = sorted(heads)
        self._version_writer = inner(ctx.connection.connection)
        self.told["version_writes"] += 1
        self.told["commit_after_version"] = False
        self._events.emit("version_written", **self.step, heads=sorted(heads))

    def _committed(self, connection: Any) -> None:
        self.told["commits"] += 1
        if connection is self._version_writer:
            self.told["commit_after_version"] = True
        self._tell("commit")

    def _rolled_back(self, conn: Any) -> None:
        if conn.closed or conn.invalidated or inner(conn.connection) is self._version_writer:
            self._version_writer = None
        self._tell("rollback")

    def _tell(self, event: str, **facts: Any) -> None:
        if self.told["statements"] + self.told["commits"] <= MAX_STATEMENT_EVENTS:
            self._events.emit(event, **{**self.step, **facts})

    def _statement_started(self, conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if self.step:
            self.told["statements"] += 1
            self._statement, self._began = {"index": self.told["statements"]}, time.monotonic()
            self._tell("statement_started", **self._statement, text=statement[:MAX_STATEMENT])

    def _statement_ended(self, conn: Any, cursor: Any, *_: Any) -> None:
        if self.step:
            ms = round((time.monotonic() - self._began) * 1000)
            self._tell("statement_ended", **self._statement, ms=ms, rowcount=getattr(cursor, "rowcount", -1))

    def _statement_failed(self, failure: Any) -> None:
        if failure.connection is not None:
            self._tell("statement_failed", **described(failure.sqlalchemy_exception or failure.original_exception))


# --- the run ---


def settle_order(context: Any) -> None:
    """Sort what Alembic keeps in sets: with several ``depends_on`` its order of steps would change with the hash seed."""
    revision_map = getattr(getattr(context, "script", None), "revision_map", None)
    for revision in revision_map._revision_map.values() if revision_map is not None else ():
        if revision is not None and hasattr(revision, "_normalized_resolved_dependencies"):
            revision._normalized_resolved_dependencies = tuple(sorted(revision._normalized_resolved_dependencies))


def configured(request: Facts, buffer: io.StringIO) -> Any:
    """Alembic's configuration as its own command line would make it, with the URL where the project takes it."""
    from alembic.config import CommandLine, Config

    path, section, name = request["config_path"], request["ini_section"], request["url_delivery_name"]
    toml = request["toml_path"] or (path if os.path.basename(path) == "pyproject.toml" else "")
    files = {"file_": "alembic.ini" if path in ("", toml) else path}
    if toml:  # Alembic before 1.16 knows none
        files["toml_file"] = toml
    options = CommandLine(prog="alembic").parser.parse_args(
        ["-c", path or toml, "-n", section, request["mode"], "base"]
    )
    options.x = list(request["x_arguments"])
    config: Any = Config(ini_section=section, cmd_opts=options, output_buffer=buffer, **cast("Facts", files))
    os.environ.update(request["extra_environment"])
    if request["url_delivery"] == "environment":
        os.environ[name] = request["url"]
    elif request["url_delivery"] == "x_argument":
        options.x.append(f"{name}={request['url']}")
    else:
        config.set_main_option("sqlalchemy.url", request["url"].replace("%", "%%"))
    return config


def perform(request: Facts, events: Events, watch: Watch) -> None:
    from alembic import command

    act = command.upgrade if request["mode"] == "upgrade" else command.downgrade
    buffer = io.StringIO()
    config = configured(request, buffer)
    if request["offline_range"]:
        act(config, request["offline_range"], sql=True)
        sql = buffer.getvalue()
        for begin in range(0, len(sql), SQL_PIECE):
            events.emit("sql", text=sql[begin : begin + SQL_PIECE])
        return
    for index, destination in enumerate(request["destination"], start=1):
        watch.last_call = index == len(request["destination"])
        config.cmd_opts.revision = destination
        act(config, destination)


def tell_failure(events: Events, watch: Watch, error: BaseException) -> None:
    events.emit("error", **{"revision": "", **watch.step}, **described(error), where=place(error))
    for each in chain(error):
        if hasattr(each, "hide_parameters"):
            each.hide_parameters = True
    traceback.print_exception(type(error), error, error.__traceback__)


def complete(events: Events, guard: Guard, watch: Watch) -> bool:
    if guard.connections == 0:
        events.emit("no_connection", message="Alembic returned, but no database connection was opened.")
    elif watch.remaining:
        events.emit("steps_missing", message="Alembic returned before the plan was at its end.", steps=watch.remaining)
    return guard.connections > 0 and not watch.remaining


def main() -> NoReturn:
    request_pipe, event_pipe, lifeline, supervisor = map(int, sys.argv[1:5])
    die_with(supervisor, moved_up(lifeline))
    request = json.loads(first_line(request_pipe))
    events = Events(moved_up(event_pipe))
    confine(request["memory_bytes"])
    sys.argv = ["alembic", request["mode"]]
    guard = Guard(request, events, moved_up(request_pipe))
    watch = Watch(request, events, guard)
    ok = False
    try:
        import alembic
        import sqlalchemy

        python = ".".join(map(str, sys.version_info[:3]))
        events.emit(
            "hello", pid=os.getpid(), python=python, alembic=alembic.__version__, sqlalchemy=sqlalchemy.__version__
        )
        guard.arm()
        watch.arm()
        perform(request, events, watch)
        ok = bool(request["offline_range"]) or complete(events, guard, watch)
    except BaseException as error:  # noqa: BLE001  SystemExit and KeyboardInterrupt of the project too
        tell_failure(events, watch, error)
    events.emit("finished", ok=ok, connections=guard.connections, **watch.told)
    leave(COMPLETE if ok else INCOMPLETE)


if __name__ == "__main__":
    main()
