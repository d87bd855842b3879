"""The sessions of a run on MariaDB or MySQL: found again, ended, and seen to be gone.

The server keeps no application name that everybody may read. So each session of a run takes a lock of its own name before the
project gets it, and the supervisor stores that name with the session's id. Whoever holds the name is that session, whatever
happened to the ids since. A client that was killed leaves its statement running, with both locks held, until the statement
ends: measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import pymysql

from migrations_audit.engine.fence import (
    CONNECT_TIMEOUT_S,
    MAX_QUERY,
    OBSERVER,
    STATEMENT_DEADLINE_S,
    Backend,
    FenceResult,
)
from migrations_audit.engine.mariadb import session
from migrations_audit.engine.mariadb.session import Connection
from migrations_audit.engine.mariadb.url import MariadbUrl
from migrations_audit.engine.redaction import Redactor
from migrations_audit.engine.types import RunSession

POLL_S: Final = 0.1

_SESSIONS: Final = """
    SELECT id, user, COALESCE(db, ''), command, COALESCE(info, ''), time, COALESCE(state, '')
      FROM information_schema.processlist WHERE id = %s
"""


def cancel(url: MariadbUrl, *, sessions: Sequence[RunSession]) -> int:
    """Cancel the running statements of these sessions; return how many took it. Raises CannotRead."""
    with _observer(url) as connection:
        return sum(_killed(connection, each, "KILL QUERY %s") for each in sessions)


def fence(
    url: MariadbUrl, *, sessions: Sequence[RunSession], lock_name: str, budget_s: float, needs_lock: bool
) -> FenceResult:
    """End these sessions, wait up to ``budget_s`` until none is there, and try the run lock. Raises CannotRead.

    A session whose id is taken while its name is free is not ended, because it may be another one after a restart of the server;
    nor does it count as gone.
    """
    end = time.monotonic() + budget_s
    terminated: set[int] = set()
    with _observer(url, budget_s) as connection:
        while True:
            terminated.update(each.id for each in sessions if _killed(connection, each, "KILL %s"))
            remaining = _remaining(connection, url, sessions)
            free = session.value(connection, "SELECT GET_LOCK(%s, 0)", [lock_name]) == 1
            clear = not remaining and (free or not needs_lock)
            if clear or time.monotonic() >= end:
                break
            if free:
                session.value(connection, "SELECT RELEASE_LOCK(%s)", [lock_name])
            time.sleep(POLL_S)
        holder = None if free else _holder(connection, url, lock_name)
    return FenceResult(
        clear=clear,
        terminated=tuple(sorted(terminated)),
        remaining=remaining,
        lock_free=free,
        lock_holder=holder,
    )


@contextmanager
def _observer(url: MariadbUrl, budget_s: float = 0) -> Iterator[Connection]:
    with session.connect(
        url,
        application_name=OBSERVER,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        deadline_s=STATEMENT_DEADLINE_S + budget_s,
        statement_timeout_ms=STATEMENT_DEADLINE_S * 1000,
    ) as connection:
        yield connection


def _killed(connection: Connection, each: RunSession, statement: str) -> bool:
    """Whether the session was there and took the signal."""
    if session.value(connection, "SELECT IS_USED_LOCK(%s)", [each.name]) != each.id:
        return False
    with suppress(pymysql.OperationalError, pymysql.InternalError):  # it went, or this user may not end it
        session.rows(connection, statement, [each.id])
        return True
    return False


def _remaining(connection: Connection, url: MariadbUrl, sessions: Sequence[RunSession]) -> tuple[Backend, ...]:
    own = session.protocol_id(connection)
    found = [
        _backend(connection, url, each.id, each.name) or _holder(connection, url, each.name)
        for each in sessions
        if each.id != own
    ]
    return tuple(each for each in found if each is not None)


def _holder(connection: Connection, url: MariadbUrl, lock_name: str) -> Backend | None:
    """Who holds the lock. Without the right PROCESS a user sees no more of another user's session than its id."""
    holder = session.value(connection, "SELECT IS_USED_LOCK(%s)", [lock_name])
    if holder is None:
        return None
    unseen = Backend(pid=holder, user="", application_name="", state="", query="", age_s=0, wait_event="")
    return _backend(connection, url, holder, "") or unseen


def _backend(connection: Connection, url: MariadbUrl, id_: int, name: str) -> Backend | None:
    redactor = Redactor([url.password])
    for found, user, _, command, query, age, state in session.rows(connection, _SESSIONS, [id_]):
        return Backend(
            pid=found,
            user=redactor.text(user),
            application_name=name,
            state=command.lower(),
            query=redactor.text(query)[:MAX_QUERY],
            age_s=float(age or 0),
            wait_event=redactor.text(state),
        )
    return None
