"""The tag on every connection of a run, and the fence: nothing of the run works on the target any more, proven.

A lost worker leaves its statement running in the server, so that what is read before the fence can change afterwards.
Every ``prefix`` here is ``prefix_for_run``, or a whole ``tag`` where only one epoch is meant.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, class_row

from migrations_audit.engine import session
from migrations_audit.engine.redaction import Redactor
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import Invalid

LOCK_KEY: Final = (1330664272, 1)
"""The two-integer advisory lock that a run holds in its migrating session: ASCII "OPSP", and 1. Published: another tool
that takes it excludes the portal from that database."""

OBSERVER: Final = "opsportal:observer"
CONNECT_TIMEOUT_S: Final = 5
STATEMENT_DEADLINE_S: Final = 20
MAX_QUERY: Final = 500
_MAX_PORTAL: Final = 24
_POLL_S: Final = 0.1

_Connection: TypeAlias = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Backend:
    """One server process. ``age_s``: since its transaction began, or since it connected when it has none."""

    pid: int
    user: str
    application_name: str
    state: str
    query: str
    age_s: float
    wait_event: str


@dataclass(frozen=True)
class FenceResult:
    """``clear`` means that no backend of the run is left and that nobody holds the run lock, where that was asked for."""

    clear: bool
    terminated: tuple[int, ...]
    remaining: tuple[Backend, ...]
    lock_free: bool
    lock_holder: Backend | None


_FIELDS: Final = sql.SQL("""
    coalesce(a.usename::text, '') AS user, coalesce(a.application_name, '') AS application_name,
    coalesce(a.state, '') AS state, coalesce(a.query, '') AS query,
    greatest(0, extract(epoch FROM now() - coalesce(a.xact_start, a.backend_start, now())))::float8 AS age_s,
    concat_ws(': ', a.wait_event_type, a.wait_event) AS wait_event
""")
# A whole tag means its epoch alone; e3 is not the beginning of e31.
_OF_RUN: Final = sql.SQL("""
    CASE WHEN right(%(prefix)s, 1) = ':' THEN starts_with(a.application_name, %(prefix)s)
         ELSE a.application_name = %(prefix)s END AND a.pid <> pg_backend_pid()
""")


def _query(text: LiteralString) -> sql.Composed:
    return sql.SQL(text).format(fields=_FIELDS, of_run=_OF_RUN)


_BACKENDS: Final = _query("SELECT a.pid, {fields} FROM pg_stat_activity a WHERE {of_run} ORDER BY a.pid")
_BLOCKERS: Final = _query("""
    SELECT b.pid, {fields}
      FROM (SELECT DISTINCT unnest(pg_blocking_pids(a.pid)) AS pid FROM pg_stat_activity a WHERE {of_run}) b
      LEFT JOIN pg_stat_activity a ON a.pid = b.pid
     ORDER BY b.pid
""")
_LOCK_HOLDER: Final = _query("""
    SELECT a.pid, {fields}
      FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.classid::int8 = %(class)s AND l.objid::int8 = %(object)s
     ORDER BY a.pid LIMIT 1
""")
_CANCEL: Final = _query("SELECT pg_cancel_backend(a.pid) FROM pg_stat_activity a WHERE a.pid = %(pid)s AND {of_run}")
_TERMINATE: Final = _query(
    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.pid = %(pid)s AND {of_run}"
)
# Held to the end of its short transaction only: nothing to give back, and nothing that a pooler could leak.
_TRY_LOCK: Final[LiteralString] = "SELECT pg_try_advisory_xact_lock(%(class)s, %(object)s)"
_LOCK: Final = {"class": LOCK_KEY[0], "object": LOCK_KEY[1]}
_PREFIX: Final = re.compile(r"opsportal:[a-z0-9-]+:run-[0-9]+:(?:e[0-9]+)?")


class NotARunPrefix(Invalid):
    """This is not the beginning of a run's application name. Nothing was asked of the server, because other people's
    connections could have been meant."""

    code = "not_a_run_prefix"


def prefix_for_run(portal: str, number: int) -> str:
    """The beginning of the application name of every connection of a run, in all its epochs and of no other run."""
    name = re.sub(r"[^a-z0-9-]+", "-", portal.lower())
    if name != portal or not 0 < len(name) <= _MAX_PORTAL:
        name = f"{name[: _MAX_PORTAL - 9]}-{hashlib.sha256(portal.encode()).hexdigest()[:8]}"
    return f"opsportal:{name}:run-{number}:"


def tag(portal: str, number: int, epoch: int) -> str:
    """The application name for one epoch of a run: ASCII, at most 63 bytes, so that the server cuts nothing."""
    return f"{prefix_for_run(portal, number)}e{epoch}"


def backends(url: TargetUrl, *, prefix: str) -> tuple[Backend, ...]:
    """Return the server processes of the run, in any database of the cluster. Raises CannotRead."""
    with _observer(url, prefix) as connection, _pinned(connection):
        return _listed(connection, url, _BACKENDS, {"prefix": prefix})


def blockers(url: TargetUrl, *, prefix: str) -> tuple[Backend, ...]:
    """Return who holds the locks that the run waits for. Raises CannotRead.

    Pid 0 is a prepared transaction, which has no process.
    """
    with _observer(url, prefix) as connection, _pinned(connection):
        return _listed(connection, url, _BLOCKERS, {"prefix": prefix})


def cancel(url: TargetUrl, *, prefix: str) -> int:
    """Cancel the running statements of the run; return how many processes took the signal. Raises CannotRead."""
    with _observer(url, prefix) as connection:
        return len(_signalled(connection, url, prefix, _CANCEL))


def terminate(url: TargetUrl, *, prefix: str) -> int:
    """End the connections of the run; return how many processes took the signal. Raises CannotRead."""
    with _observer(url, prefix) as connection:
        return len(_signalled(connection, url, prefix, _TERMINATE))


def fence(url: TargetUrl, *, prefix: str, budget_s: float, needs_lock: bool = True) -> FenceResult:
    """End the run's processes on the server, wait up to ``budget_s`` until none is visible, and try the run lock.

    A process that this user may not end stays in ``remaining``. After a run that sent nothing (``needs_lock`` False) the lock may
    be somebody else's, and is not waited for. Raises CannotRead.
    """
    end = time.monotonic() + budget_s
    terminated: set[int] = set()
    with _observer(url, prefix, budget_s=budget_s) as connection:
        while True:
            terminated.update(_signalled(connection, url, prefix, _TERMINATE))
            with _pinned(connection):
                remaining = _listed(connection, url, _BACKENDS, {"prefix": prefix})
                holders = _listed(connection, url, _LOCK_HOLDER, _LOCK)
                row = connection.execute(_TRY_LOCK, _LOCK).fetchone()
            free = row is not None and bool(row[0])
            clear = not remaining and (free or not needs_lock)
            if clear or time.monotonic() >= end:
                break
            time.sleep(_POLL_S)
    return FenceResult(
        clear=clear,
        terminated=tuple(sorted(terminated)),
        remaining=remaining,
        lock_free=free,
        lock_holder=None if free or not holders else holders[0],
    )


@contextmanager
def _observer(url: TargetUrl, prefix: str, *, budget_s: float = 0) -> Iterator[_Connection]:
    if not _PREFIX.fullmatch(prefix):
        raise NotARunPrefix
    with session.connect(
        url,
        application_name=OBSERVER,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        deadline_s=STATEMENT_DEADLINE_S + budget_s,
    ) as connection:
        yield connection


@contextmanager
def _pinned(connection: _Connection) -> Iterator[None]:
    # A transaction sees one state of pg_stat_activity; each look needs a new one.
    with connection.transaction():
        connection.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)")
        yield


def _listed(
    connection: _Connection, url: TargetUrl, query: sql.Composed, values: Mapping[str, object]
) -> tuple[Backend, ...]:
    redactor = Redactor([url.password])
    with connection.cursor(row_factory=class_row(Backend)) as cursor:
        found = cursor.execute(query, values).fetchall()
    return tuple(
        replace(
            backend,
            user=redactor.text(backend.user),
            application_name=redactor.text(backend.application_name),
            query=redactor.text(backend.query)[:MAX_QUERY],
        )
        for backend in found
    )


def _signalled(connection: _Connection, url: TargetUrl, prefix: str, statement: sql.Composed) -> list[int]:
    with _pinned(connection):
        found = _listed(connection, url, _BACKENDS, {"prefix": prefix})
    taken = []
    for backend in found:
        with suppress(psycopg.errors.InsufficientPrivilege), _pinned(connection):
            row = connection.execute(statement, {"pid": backend.pid, "prefix": prefix}).fetchone()
            if row is not None and row[0]:
                taken.append(backend.pid)
    return taken
