"""What the rest asks of a target, whatever engine it has: read it, find a run's sessions, end them.

The URL's scheme decides. Outside the engine nobody knows the difference but by what a reading says of itself: its ``engine`` and
whether DDL is transactional there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from migrations_audit.engine import fence as postgresql_fence
from migrations_audit.engine import target, urls
from migrations_audit.engine.fence import Backend, FenceResult
from migrations_audit.engine.mariadb import fence as mariadb_fence
from migrations_audit.engine.mariadb import reading as mariadb_reading
from migrations_audit.engine.mariadb import url as mariadb_url
from migrations_audit.engine.mariadb.url import MariadbUrl
from migrations_audit.engine.sqlite import fence as sqlite_fence
from migrations_audit.engine.sqlite import reading as sqlite_reading
from migrations_audit.engine.sqlite import url as sqlite_url
from migrations_audit.engine.sqlite.url import SqliteUrl
from migrations_audit.engine.types import Reading, RunSession
from migrations_audit.engine.urls import TargetUrl

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 15_000
LONGEST_LOCK_NAME: Final = 64


def parse(text: str, *, sqlite_roots: Sequence[str]) -> TargetUrl:
    """Take a database URL apart. A SQLite file lies below one of ``sqlite_roots``. Raises InvalidUrl naming what is wrong."""
    engine = text.partition("://")[0].partition("+")[0].lower()
    if engine in mariadb_url.SCHEMES:
        return mariadb_url.parse(text)
    if engine == "sqlite":
        url = sqlite_url.parse(text)
        sqlite_url.check_place(url, roots=sqlite_roots)
        return url
    return urls.parse(text)


def read(
    url: TargetUrl, *, version_table: str = "alembic_version", version_schema: str = "", application_name: str
) -> Reading:
    """Read the target once, on a fresh connection, within bounded time and without writing. Raises CannotRead."""
    if isinstance(url, MariadbUrl):
        return mariadb_reading.read(
            url,
            version_table=version_table,
            version_schema=version_schema,
            application_name=application_name,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        )
    if isinstance(url, SqliteUrl):
        return sqlite_reading.read(
            url,
            version_table=version_table,
            version_schema=version_schema,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        )
    return target.read(
        url, version_table=version_table, version_schema=version_schema, application_name=application_name
    )


def fence(
    url: TargetUrl, *, prefix: str, sessions: Sequence[RunSession], budget_s: float, needs_lock: bool = True
) -> FenceResult:
    """See to it that nothing of the run works on the target any more, within ``budget_s``. Raises CannotRead.

    PostgreSQL knows the run's sessions by the ``prefix`` of their application names, MariaDB by what was stored of them. After a
    run that sent nothing (``needs_lock`` False) the run lock may be somebody else's, and is not waited for.
    """
    if isinstance(url, MariadbUrl):
        return mariadb_fence.fence(
            url, sessions=sessions, lock_name=lock_name(url), budget_s=budget_s, needs_lock=needs_lock
        )
    if isinstance(url, SqliteUrl):
        return sqlite_fence.fence(url, budget_s=budget_s, needs_lock=needs_lock)
    return postgresql_fence.fence(url, prefix=prefix, budget_s=budget_s, needs_lock=needs_lock)


def cancel(url: TargetUrl, *, prefix: str, sessions: Sequence[RunSession]) -> int:
    """Cancel the running statements of the run; return how many sessions took it. Raises CannotRead.

    A SQLite statement ends with the runner's process, which the supervisor ends a moment later.
    """
    if isinstance(url, MariadbUrl):
        return mariadb_fence.cancel(url, sessions=sessions)
    if isinstance(url, SqliteUrl):
        return 0
    return postgresql_fence.cancel(url, prefix=prefix)


def blockers(url: TargetUrl, *, prefix: str) -> tuple[Backend, ...]:
    """Return who holds the locks that the run waits for; nobody where the engine tells no ordinary user. Raises CannotRead."""
    if isinstance(url, MariadbUrl | SqliteUrl):
        return ()
    return postgresql_fence.blockers(url, prefix=prefix)


def lock_name(url: TargetUrl) -> str:
    """The name of the run lock where it is one; empty on PostgreSQL, which has ``fence.LOCK_KEY``."""
    if isinstance(url, MariadbUrl):
        name = f"opsportal:{url.database}"
        if len(name) <= LONGEST_LOCK_NAME:
            return name
        return f"opsportal:{hashlib.sha256(url.database.encode()).hexdigest()[:48]}"
    return sqlite_fence.lock_path(url) if isinstance(url, SqliteUrl) else ""
