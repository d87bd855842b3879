"""Execute one approved Alembic run inside the project's interpreter and tell what happens, one JSON object a line.

Started by ``migrations_audit.engine.process`` with four numbers: the descriptors of request, events and lifeline, and the
supervisor's process id, or 0 in a process namespace of its own, whose first process is then its parent. Needs Python 3.8,
Alembic 1.8 and SQLAlchemy 1.4 or later; imports nothing of the portal, because the project's interpreter does not have it.

Exit codes: 0 Alembic returned and every planned step ended, 1 it did not, 3 refused, 4 nobody listens any more.
Exit code 0 proves nothing about the database; another process reads that.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import io
import json
import os
import resource
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    Facts = dict[str, Any]

COMPLETE, INCOMPLETE, REFUSED, UNHEARD = 0, 1, 3, 4

MAX_STATEMENT = 4_000
MAX_MESSAGE = 8_000
MAX_STATEMENT_EVENTS = 10_000  # a data revision may execute millions; the rest is only counted
SQL_PIECE = 200_000
MAX_LOOKS = 2_000  # of a rehearsal, after a statement; afterwards it looks at the end of each step only
INSPECTION_PIECE = 200_000
OPEN_FILES = 1_024
FILE_BYTES = 1024**3
FIRST = 1  # the first process of a namespace
LOCK_POLL_S = 0.25
LONGEST_WAIT_S = 86_400  # where 0 would mean not to wait at all


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

    @property
    def in_a_fork(self) -> bool:
        """Whether this is a process that the project forked. It must not mix its lines into ours."""
        return os.getpid() != self._process

    def emit(self, event: str, **facts: Any) -> None:
        if self.in_a_fork:
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
    message = message.partition("\nDETAIL:")[0]  # PostgreSQL quotes the row there; the traceback in the log keeps it
    if type(origin).__module__.partition(".")[0] in ("pymysql", "MySQLdb") and len(origin.args) > 1:
        message = f"{origin.args[1]} (error {origin.args[0]})"
    if isinstance(origin, MemoryError):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0] // 1024**2
        message = f"Out of memory: a run may use {limit} MiB. {message}".strip()
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
            arguments = getattr(origin, "args", ())  # there may be no original exception
            if code is None and arguments and isinstance(arguments[0], dict):  # pg8000
                code = arguments[0].get("C")
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
    """End this process and its group when the supervisor ends, however it ends. Take SIGTERM back, which bwrap ignores."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != (supervisor or FIRST):
        leave(UNHEARD)

    def watch() -> None:
        os.read(lifeline, 1)  # returns when the supervisor's end is closed
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def left_behind(supervisor: int) -> int:
    """How many processes the project leaves in a namespace of our own. Elsewhere the supervisor looks for them."""
    if supervisor:
        return 0
    count = 0
    for pid in set(filter(str.isdigit, os.listdir("/proc"))) - {str(FIRST), str(os.getpid())}:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat:
            count += stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    return count


def confine(memory_bytes: int, processes: int) -> None:
    """Limit this process and all that it starts, before any code of the project is loaded."""
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NPROC, processes),  # counts the whole account; not enforced for root
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


def plain_text(value: str) -> str:
    """A literal for MariaDB and MySQL, whose quoting depends on the session's mode."""
    return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)"


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


def endpoint(facts: Facts) -> str:
    return f"{facts['user']}@{str(facts['host']).lower()}:{facts['port']}/{facts['database']}"


def quoted(names: Sequence[str], mark: str) -> str:
    return ".".join(mark + name.replace(mark, mark + mark) + mark for name in names if name)


class PostgreSQL:
    """What PostgreSQL does in its own way."""

    def __init__(self, request: Facts, events: Events) -> None:
        self._request = request
        self._events = events
        self._approved: Facts = request["connection"]
        self._startup = {
            "application_name": request["application_name"],
            "lock_timeout": str(request["lock_timeout_ms"]),
            "statement_timeout": str(request["statement_timeout_ms"]),
            "idle_in_transaction_session_timeout": str(request["idle_in_transaction_timeout_ms"]),
        }
        # Some servers do not let it be set; asked for at start-up it would cost the connection.
        interval = request["client_connection_check_interval_ms"]
        self._optional = {"client_connection_check_interval": str(interval)} if interval else {}

    @property
    def approved(self) -> str:
        return endpoint(self._approved)

    def elsewhere(self, dialect: Any, cargs: Sequence[Any], cparams: Facts) -> str:
        """What the project asks for, in words; nothing when that is the approved database."""
        if dialect.name != "postgresql":
            return f"a database of {dialect.name}"
        asked = {
            "host": str(cparams.get("host") or "").lower(),
            "port": str(cparams.get("port") or 5432),
            "database": str(cparams.get("dbname") or cparams.get("database") or ""),
            "user": str(cparams.get("user") or ""),
        }
        detours = [name for name in ("hostaddr", "service", "dsn", "conninfo", "unix_sock") if cparams.get(name)]
        detours += ["a connection string"] if any(cargs) else []  # not repeated: it may hold a password
        return "" if endpoint(asked) == self.approved and not detours else " and ".join([endpoint(asked), *detours])

    def arguments(self, driver: str, arguments: Facts) -> Facts:
        """The driver's arguments with our settings."""
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

    def check(self, connection: Any, asserted: bool) -> Facts:
        """What is told of a new connection, or a refusal."""
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
        return {
            **found, "user": user, "backend_pid": pid, "session": "", "engine": "PostgreSQL", "server_version": version,
            "settings": settings,
        }  # fmt: skip

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

    def try_lock(self, connection: Any) -> bool:
        """Take the run lock. A session that waits inside pg_advisory_lock would make CREATE INDEX CONCURRENTLY hang."""
        high, low = map(int, self._request["lock_key"])
        return bool(rows(connection, f"SELECT pg_try_advisory_lock({high}, {low})")[0][0])

    def unlock(self, connection: Any) -> None:
        high, low = map(int, self._request["lock_key"])
        rows(connection, f"SELECT pg_advisory_unlock({high}, {low})")

    def holder(self, connection: Any) -> Facts:
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

    def version_rows(self, connection: Any) -> list[str]:
        table = quoted((self._request["version_table_schema"], self._request["version_table"]), '"')
        if rows(connection, f"SELECT CAST(to_regclass({literal(table)}) AS text)")[0][0] is None:
            return []
        return [row[0] for row in rows(connection, f"SELECT version_num FROM {table}")]  # noqa: S608

    def idle(self, connection: Any) -> bool:
        """Whether the driver says that no transaction is open."""
        driver = driver_connection(connection)
        if hasattr(driver, "is_in_transaction"):  # asyncpg
            return not driver.is_in_transaction()
        return getattr(getattr(driver, "info", None), "transaction_status", None) == 0


class MariaDB:
    """What MariaDB and MySQL do in their own way.

    They keep no application name, so each session takes a lock of a name that nobody else has: by it the portal finds the session
    again, whatever happened to ids meanwhile.
    """

    def __init__(self, request: Facts, events: Events) -> None:
        self._request = request
        self._events = events
        self._approved: Facts = request["connection"]
        self._lock = plain_text(request["lock_name"])

    @property
    def approved(self) -> str:
        return endpoint(self._approved)

    def elsewhere(self, dialect: Any, cargs: Sequence[Any], cparams: Facts) -> str:
        """What the project asks for, in words; nothing when that is the approved database."""
        if dialect.name not in ("mysql", "mariadb"):
            return f"a database of {dialect.name}"
        asked = {
            "host": str(cparams.get("host") or "").lower(),
            "port": str(cparams.get("port") or 3306),
            "database": str(cparams.get("database") or cparams.get("db") or ""),
            "user": str(cparams.get("user") or ""),
        }
        detours = [name for name in ("unix_socket", "read_default_file", "read_default_group") if cparams.get(name)]
        detours += ["positional arguments"] if any(cargs) else []
        return "" if endpoint(asked) == self.approved and not detours else " and ".join([endpoint(asked), *detours])

    def arguments(self, driver: str, arguments: Facts) -> Facts:
        """The driver's arguments with our password and TLS."""
        approved = self._approved
        if approved["password"]:
            arguments["passwd" if "passwd" in arguments else "password"] = approved["password"]
        if driver == "pymysql":
            tls = {name[4:]: value for name, value in approved["parameters"].items() if name.startswith("ssl_")}
            if tls:
                tls["check_hostname"] = tls.get("check_hostname", "true") == "true"
                arguments["ssl"] = tls
            arguments["program_name"] = self._request["application_name"]
        return arguments

    def check(self, connection: Any, asserted: bool) -> Facts:
        """What is told of a new connection, or a refusal."""
        session, database, user, read_only, version = rows(
            connection,
            "SELECT CONNECTION_ID(), DATABASE(), SUBSTRING_INDEX(USER(), '@', 1),"
            " @@global.read_only OR @@global.innodb_read_only, VERSION()",
        )[0]
        is_mariadb = "mariadb" in version.lower()
        system = self._told(connection, f"SELECT @@global.{'server_uid' if is_mariadb else 'server_uuid'}")
        found = {"system_identifier": str(system or ""), "database_oid": 0, "database": database}
        if found != self._request["expected"] or not (asserted or user == self._approved["user"]):
            self._events.refuse(
                "wrong_identity",
                f"The server is not the approved one: found database {database} (server {system}) as {user}. "
                "It was not used. Check where the address leads, then plan again.",
                found=found,
            )
        if read_only:
            self._events.refuse("standby", "The server that answered only reads. Name the primary.")
        if self._protocol_id(connection) not in (None, session):
            self._events.refuse("pooler", "A proxy stands before the server. Use a direct address for runs.")
        settings = self._settings_in_force(connection, is_mariadb)
        name = "opsportal:session:" + os.urandom(12).hex()
        if rows(connection, f"SELECT GET_LOCK({plain_text(name)}, 0)")[0][0] != 1:
            self._events.refuse("not_checked", "The session could not be given a name by which it is found again.")
        return {
            **found, "user": user, "backend_pid": session, "session": name, "server_version": version.partition("-")[0],
            "engine": "MariaDB" if is_mariadb else "MySQL", "settings": settings,
        }  # fmt: skip

    def _told(self, connection: Any, query: str) -> Any:
        try:
            return rows(connection, query)[0][0]
        except Exception:  # noqa: BLE001  an old version does not have it
            return None

    def _protocol_id(self, connection: Any) -> Any:
        thread_id = getattr(driver_connection(connection), "thread_id", None)
        return thread_id() if callable(thread_id) else thread_id

    def _settings_in_force(self, connection: Any, is_mariadb: bool) -> dict[str, str]:
        """Set our limits in the session, then read them back. Seconds are what these servers count in."""
        lock_s = -(-self._request["lock_timeout_ms"] // 1000) or LONGEST_WAIT_S
        statement_ms, idle_ms = self._request["statement_timeout_ms"], self._request["idle_in_transaction_timeout_ms"]
        wanted: dict[str, float] = {"lock_wait_timeout": lock_s, "innodb_lock_wait_timeout": lock_s}
        if is_mariadb:
            wanted.update(max_statement_time=statement_ms / 1000, idle_transaction_timeout=idle_ms // 1000)
        else:
            wanted["max_execution_time"] = statement_ms  # MySQL applies it to SELECT only
        for name, value in wanted.items():
            rows(connection, f"SET SESSION {name} = {value}")
        found = rows(connection, f"SELECT {', '.join(f'@@session.{name}' for name in wanted)}")[0]
        settings = dict(zip(wanted, map(str, found)))  # noqa: B905  strict= needs Python 3.10
        lost = [name for name, value in wanted.items() if float(settings[name]) != value]
        if lost:
            self._events.refuse(
                "settings_not_in_force", f"The server did not take our {', '.join(lost)}.", settings=settings
            )
        return settings

    def try_lock(self, connection: Any) -> bool:
        return bool(rows(connection, f"SELECT GET_LOCK({self._lock}, 0)")[0][0])

    def unlock(self, connection: Any) -> None:
        rows(connection, f"SELECT RELEASE_LOCK({self._lock})")

    def holder(self, connection: Any) -> Facts:
        found = rows(
            connection,
            f"SELECT id, '', user, time FROM information_schema.processlist WHERE id = IS_USED_LOCK({self._lock})",  # noqa: S608
        ) or rows(connection, f"SELECT IS_USED_LOCK({self._lock}), '', 'another user', 0")
        names = ("pid", "application_name", "user", "session_age_s")
        return dict(zip(names, found[0])) if found[0][0] is not None else {}  # noqa: B905

    def version_rows(self, connection: Any) -> list[str]:
        schema = self._request["version_table_schema"] or self._approved["database"]
        name = self._request["version_table"]
        query = "SELECT 1 FROM information_schema.tables WHERE table_schema = {} AND table_name = {}"
        if not rows(connection, query.format(plain_text(schema), plain_text(name))):
            return []
        return [row[0] for row in rows(connection, f"SELECT version_num FROM {quoted((schema, name), '`')}")]  # noqa: S608

    def idle(self, connection: Any) -> bool:
        """Whether no transaction is open. A driver does not say; the lock needs none, so nothing is ever rolled back for it."""
        return False


class SQLite:
    """What SQLite does in its own way: the database is a file, and the run lock is one beside it."""

    def __init__(self, request: Facts, events: Events) -> None:
        self._request = request
        self._events = events
        self._lock: int | None = None

    @property
    def approved(self) -> str:
        return str(self._request["connection"]["database"])

    def elsewhere(self, dialect: Any, cargs: Sequence[Any], cparams: Facts) -> str:
        """What the project asks for, in words; nothing when that is the approved file."""
        if dialect.name != "sqlite":
            return f"a database of {dialect.name}"
        asked = str(cargs[0] if cargs else cparams.get("database") or "")
        if cparams.get("uri"):
            return "a SQLite URI"  # its parameters could lead anywhere
        same = asked not in ("", ":memory:") and os.path.realpath(asked) == os.path.realpath(self.approved)
        return "" if same else asked or "a database without a file"

    def arguments(self, driver: str, arguments: Facts) -> Facts:
        """The driver's arguments with our wait for locks."""
        return {**arguments, "timeout": (self._request["lock_timeout_ms"] or LONGEST_WAIT_S * 1000) / 1000}

    def check(self, connection: Any, asserted: bool) -> Facts:
        """What is told of a new connection, or a refusal."""
        path = next((row[2] for row in rows(connection, "PRAGMA database_list") if row[1] == "main"), "")
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
        wanted = self._request["lock_timeout_ms"] or LONGEST_WAIT_S * 1000
        if rows(connection, "PRAGMA busy_timeout")[0][0] != wanted:
            rows(connection, f"PRAGMA busy_timeout = {int(wanted)}")
        settings = {"busy_timeout": str(rows(connection, "PRAGMA busy_timeout")[0][0])}
        if settings["busy_timeout"] != str(wanted):
            self._events.refuse("settings_not_in_force", "SQLite did not take our busy_timeout.", settings=settings)
        return {
            **self._request["expected"], "user": "", "backend_pid": os.getpid(), "session": "", "engine": "SQLite",
            "server_version": rows(connection, "SELECT sqlite_version()")[0][0], "settings": settings,
        }  # fmt: skip

    def try_lock(self, connection: Any) -> bool:
        """Lock the file beside the database. A fork of this process holds the lock too, a program that it starts does not."""
        if self._lock is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = moved_up(os.open(self._request["lock_name"], flags, 0o660))
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, self._request["application_name"].encode(), 0)
        return True

    def unlock(self, connection: Any) -> None:
        """The process keeps it to its end: whichever of its connections works, nobody else may."""

    def holder(self, connection: Any) -> Facts:
        written = os.pread(self._lock, MAX_STATEMENT, 0).decode(errors="replace") if self._lock is not None else ""
        return {"pid": 0, "application_name": written, "user": "", "session_age_s": 0}

    def version_rows(self, connection: Any) -> list[str]:
        name = self._request["version_table"]
        query = f"SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = lower({literal(name)})"  # noqa: S608
        if not rows(connection, query):
            return []
        return [row[0] for row in rows(connection, f"SELECT version_num FROM {quoted((name,), chr(34))}")]  # noqa: S608

    def idle(self, connection: Any) -> bool:
        """Whether the driver says that no transaction is open."""
        return not getattr(driver_connection(connection), "in_transaction", True)


SERVERS: dict[str, Callable[[Facts, Events], Any]] = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": SQLite}


class Guard:
    """Lets the project connect to the approved database only, with our settings, and keeps the target's lock.

    A new connection is handed over outside a transaction: in one that somebody else began, Alembic skips its own commit.
    """

    def __init__(self, request: Facts, events: Events, word: int) -> None:
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
        self._refuse_in_a_fork()
        self._refuse_offline()
        elsewhere = self._server.elsewhere(dialect, cargs, cparams)
        if elsewhere:
            self._events.refuse(
                "wrong_target",
                f"The project asked for {elsewhere}; approved is {self._server.approved}. "
                "It was not connected to. Correct how the project takes its database URL.",
            )
        arguments: Facts = self._server.arguments(dialect.driver, cparams)
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
            leave(UNHEARD)

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


# --- what a rehearsal looks at ---


class Inspection:
    """Asks the server, in the migrating session itself, what each statement and each step changed. On a copy only.

    The request brings the questions: nothing here knows what they mean. Told is what is answered differently than before; those
    under ``transaction`` are asked after a statement too, and their answers are forgotten with each COMMIT.
    """

    def __init__(self, request: Facts, events: Events) -> None:
        asked: Facts = request["inspect"]
        self._passing: Facts = asked.get("transaction", {})
        self._of_statement: Facts = {**asked.get("statement", {}), **self._passing}
        self._of_step: Facts = asked.get("step", {})
        self._events = events
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._looks = 0
        self._begun = False  # COMMIT notes answers too, and env.py may commit before anything was asked
        self.wanted = bool(asked)

    def begin(self, connection: Any) -> None:
        """Know all answers before the project has its first connection; nothing is told, and no transaction stays open."""
        if self.wanted and not self._begun:
            self._begun = True
            self._ask(connection, {**self._of_statement, **self._of_step}, {})
            connection.rollback()

    def after_statement(self, connection: Any, **facts: Any) -> None:
        self._looks += 1
        if self._looks <= MAX_LOOKS:
            self._ask(connection, self._of_statement, {"when": "statement", **facts})
        elif self._looks == MAX_LOOKS + 1:
            self._events.emit("looks_ended")

    def after_step(self, connection: Any, **facts: Any) -> None:
        self._ask(connection, self._of_step, {"when": "step", **facts})

    def committed(self) -> None:
        self._seen.update((name, set()) for name in self._passing)

    def _ask(self, connection: Any, questions: Facts, facts: Facts) -> None:
        if not self.wanted:
            return
        try:
            for name, query in questions.items():
                found = {tuple(map(str, row)) for row in rows(connection, query)}
                before, self._seen[name] = self._seen.get(name, set()), found
                if facts:
                    self._tell({"of": name, "sign": "gone", **facts}, before - found)
                    self._tell({"of": name, "sign": "new", **facts}, found - before)
        except Exception as error:  # noqa: BLE001  a rehearsal that cannot look says so, and is none
            self.wanted = False
            self._events.emit("not_inspected", **described(error))

    def _tell(self, facts: Facts, changed: set[tuple[str, ...]]) -> None:
        """Packed, so that nobody masks a word in a definition; in pieces, because a line may not become too long."""
        packed = json.dumps(sorted(changed)).encode().hex() if changed else ""
        for begin in range(0, len(packed), INSPECTION_PIECE):
            piece = packed[begin : begin + INSPECTION_PIECE]
            self._events.emit("inspected", packed=piece, more=begin + INSPECTION_PIECE < len(packed), **facts)


# --- steps, statements and commits ---


class Watch:
    """Compares what Alembic is about to do with the plan, then tells each step, statement and commit."""

    def __init__(self, request: Facts, events: Events, guard: Guard) -> None:
        self._events = events
        self._guard = guard
        self._inspection = Inspection(request, events)
        self._table = (request["version_table_schema"], request["version_table"])
        self._files: dict[str, str] = request["files"]
        self._env_py: str = request["env_py"]
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
        from sqlalchemy.pool import Pool

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
        event.listen(
            Pool, "connect", lambda connection, record: self._inspection.begin(connection)
        )  # the guard's was first
        event.listen(Engine, "rollback", self._rolled_back)
        event.listen(Engine, "before_cursor_execute", self._statement_started)
        event.listen(Engine, "after_cursor_execute", self._statement_ended)
        event.listen(Engine, "handle_error", self._statement_failed)

    def _prepare(self, context: Any) -> None:
        """Compare with the plan before Alembic creates its version table, then follow its steps."""
        settle_order(context)
        plan, heads = context._migrations_fn, context.get_current_heads()
        self._guard.refuse_other_start(heads)
        ahead = list(plan(heads, context))
        steps = [named(step) for step in ahead]
        expected = self.remaining if self.last_call else self.remaining[: len(steps)]
        if steps != expected:
            would, approved = (", ".join(step[0] for step in each)[:400] or "nothing" for each in (steps, expected))
            self._events.refuse(
                "plan_differs", f"Alembic would do {would}; approved is {approved}.", steps=steps[:1000]
            )
        self._refuse_other_files(context, ahead)
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

    def _refuse_other_files(self, context: Any, ahead: Sequence[Any]) -> None:
        """The project's own command may load scripts from elsewhere than the approved snapshot."""
        loaded = {step.revision.revision: step.revision.path for step in ahead if hasattr(step, "revision")}
        found = [(name, path, self._files.get(name)) for name, path in loaded.items()]
        if context.script is not None:
            found.append(("env.py", os.path.join(context.script.dir, "env.py"), self._env_py))
        for name, path, approved in found:
            if approved and digest_of(path) != approved:
                self._events.refuse(
                    "scripts_differ",
                    f"{path}, from which {name} was loaded, is not the file that was approved. Plan again.",
                )

    def _steps(self, plan: Callable[..., Any], heads: Any, context: Any) -> Iterator[Any]:
        for step in plan(heads, context):
            self._guard.move_lock(inner(context.connection.connection))
            self._position += 1
            revision, direction = self.remaining[0]
            self.step = {"position": self._position, "revision": revision, "direction": direction}
            before, began = self.told["statements"], time.monotonic()
            self._events.emit("step_started", **self.step)
            yield step  # Alembic comes back when the step's own transaction block is over, not when it fails
            self._inspect(context, functools.partial(self._inspection.after_step, **self.step))
            spent = {"ms": round((time.monotonic() - began) * 1000), "statements": self.told["statements"] - before}
            self._events.emit("step_ended", **self.step, **spent)
            self.told["steps_ended"] += 1
            self.remaining, self.step = self.remaining[1:], {}

    def _inspect(self, context: Any, look: Callable[[Any], None]) -> None:
        """Between two steps no transaction may be open; one that only our questions opened is closed again."""
        if not self._inspection.wanted:
            return
        connection = inner(context.connection.connection)
        look(connection)
        if not context.connection.in_transaction():
            connection.rollback()

    def _version_written(self, ctx: Any, heads: Any, **_: Any) -> None:
        self._guard.revisions = sorted(heads)
        self._version_writer = inner(ctx.connection.connection)
        self.told["version_writes"] += 1
        self.told["commit_after_version"] = False
        self._events.emit("version_written", **self.step, heads=sorted(heads))

    def _committed(self, connection: Any) -> None:
        self.told["commits"] += 1
        self._inspection.committed()
        if connection is self._version_writer and not self.told["commit_after_version"]:
            self.told["commit_after_version"] = True
            self._events.emit("commit", **self.step)  # after any number of statements: by it a step counts as committed
        else:
            self._tell("commit")

    def _rolled_back(self, conn: Any) -> None:
        if conn.closed or conn.invalidated or inner(conn.connection) is self._version_writer:
            self._version_writer = None
        self._tell("rollback")

    def _tell(self, event: str, **facts: Any) -> None:
        if self.told["statements"] + self.told["commits"] <= MAX_STATEMENT_EVENTS:
            self._events.emit(event, **{**self.step, **facts})

    def _statement_started(self, conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self.step:
            self.told["statements"] += 1
            self._statement, self._began = {"index": self.told["statements"]}, time.monotonic()
            told = {
                "text": statement[:MAX_STATEMENT],
                "cut": len(statement[MAX_STATEMENT:]),
                "values": bool(parameters),
            }
            self._tell("statement_started", **self._statement, **told)

    def _statement_ended(self, conn: Any, cursor: Any, *_: Any) -> None:
        if self.step:
            ms = round((time.monotonic() - self._began) * 1000)
            facts: Facts = {**self._statement, "ms": ms, "rowcount": getattr(cursor, "rowcount", -1)}
            if self._inspection.wanted:  # before any question opens a transaction of its own
                facts["idle"] = self._guard.is_idle(inner(conn.connection))
            self._tell("statement_ended", **facts)
            if self._inspection.wanted:
                self._inspection.after_statement(inner(conn.connection), **self.step, **self._statement)

    def _statement_failed(self, failure: Any) -> None:
        if failure.connection is not None:
            self._tell("statement_failed", **described(failure.sqlalchemy_exception or failure.original_exception))


def named(step: Any) -> list[str]:
    """What a step of Alembic's does, as the plan says it."""
    if hasattr(step, "revision"):
        return [step.revision.revision, "upgrade" if step.is_upgrade else "downgrade"]
    return [", ".join(step.to_), "stamp"]


def digest_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""


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
    set_environment(request)
    if request["url_delivery"] == "x_argument":
        options.x.append(f"{name}={request['url']}")
    elif request["url_delivery"] != "environment":
        config.set_main_option("sqlalchemy.url", request["url"].replace("%", "%%"))
    return config


def set_environment(request: Facts) -> None:
    os.environ.update(request["extra_environment"])
    if request["url_delivery"] == "environment":
        os.environ[request["url_delivery_name"]] = request["url"]


def hand_over(request: Facts, events: Events) -> None:
    """Call the project's own command in this process, as its console script would, with our hooks armed."""
    set_environment(request)
    sys.argv = list(request["command"])
    first = sys.argv[0]
    try:
        if first == "-m":
            del sys.argv[0]
            sys.path.insert(0, os.getcwd())
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        elif first.endswith(".py"):
            sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
            runpy.run_path(first, run_name="__main__")
        else:
            installed = [script for package in metadata.distributions() for script in package.entry_points]
            found = [script for script in installed if script.group == "console_scripts" and script.name == first]
            if not found:
                events.refuse(
                    "no_such_command",
                    f"The project's interpreter has no command {first}. Correct the project's command.",
                )
            code = found[0].load()()
            if isinstance(code, int) and code:
                raise SystemExit(code)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise


def perform(request: Facts, events: Events, watch: Watch) -> None:
    from alembic import command

    if request["command"]:
        watch.last_call = False  # importing the project may call Alembic too
        hand_over(request, events)
        return
    act = {"upgrade": command.upgrade, "downgrade": command.downgrade, "stamp": command.stamp}[request["mode"]]
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
    confine(request["memory_bytes"], request["processes"])
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
    if left := left_behind(supervisor):
        events.emit("left_behind", count=left)
    events.emit("finished", ok=ok, connections=guard.connections, **watch.told)
    leave(COMPLETE if ok else INCOMPLETE)


if __name__ == "__main__":
    main()
