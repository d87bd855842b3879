"""Reading a target: who it is, which revisions it records, what its catalog holds. Nothing is ever written to it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, class_row, dict_row

from migrations_audit.engine import catalog, marker, session, version_rows
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.types import Identity, Reading
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.engine.version_rows import MAX_REVISION_ROWS, UnreadableVersionTable

__all__ = ["CannotRead", "IdentityCheck", "UnreadableVersionTable", "compare_identity", "read"]

ATTEMPTS: Final = 5

_Connection: TypeAlias = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class IdentityCheck:
    """``differences`` say why this is not the enrolled database; ``remarks`` are worth knowing and forbid nothing."""

    matches: bool
    differences: tuple[str, ...]
    remarks: tuple[str, ...]


_FACTS: Final[LiteralString] = """
    SELECT current_database()::text AS database,
           (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database_oid,
           session_user::text AS user,
           coalesce(host(inet_server_addr()), '') AS server_address,
           coalesce(inet_server_port(), 0) AS server_port,
           current_setting('server_version') AS server_version,
           pg_is_in_recovery() AS in_recovery
"""
_SYSTEM_IDENTIFIER: Final[LiteralString] = "SELECT system_identifier::text FROM pg_control_system()"
# After a promotion the control file tells the new timeline only at the next checkpoint, the WAL file's name at once.
_TIMELINE: Final[LiteralString] = """
    SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int4 END
"""
_NOT_TOLD: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.ObjectNotInPrerequisiteState,
)

_VERSION_TABLES: Final[LiteralString] = r"""
    SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
           format('%%I.%%I', n.nspname, c.relname) AS display,
           coalesce(base.oid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype), false) AS has_version_num
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'version_num' AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_type base ON base.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
     WHERE (c.relname LIKE '%%alembic\_version%%' OR c.relname = %(version_table)s)
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND n.nspname NOT LIKE 'pg\_%%' AND n.nspname <> 'information_schema'
     ORDER BY n.nspname, c.relname
"""
_STARTED_AT: Final[LiteralString] = """
    SELECT to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
"""
_WAL_POSITION: Final[LiteralString] = "SELECT pg_current_wal_lsn()::text"
_PREPARED: Final[LiteralString] = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid"
_KIND_WORDS: Final = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


@dataclass(frozen=True)
class _VersionTable:
    schema: str
    name: str
    kind: str
    display: str
    has_version_num: bool


def read(
    url: TargetUrl,
    *,
    version_table: str = "alembic_version",
    version_schema: str = "",
    application_name: str,
    connect_timeout_s: float = 5,
    statement_timeout_ms: int = 15_000,
) -> Reading:
    """Read the target once, on a fresh connection, in one read-only transaction.

    With an empty ``version_schema`` the version table is the one that the role's own search path reaches, as for Alembic.
    Raises CannotRead, and its subclass UnreadableVersionTable when the table is not a table, is hidden from that search
    path, or holds what Alembic never writes.
    """
    begin = time.monotonic()
    with session.connect(
        url,
        application_name=application_name,
        connect_timeout_s=connect_timeout_s,
        deadline_s=4 * statement_timeout_ms / 1000,
    ) as connection:
        for _ in range(ATTEMPTS):
            with suppress(catalog.SchemaChanging):
                reading = _snapshot(connection, url, version_table, version_schema, statement_timeout_ms)
                return replace(reading, duration_ms=round((time.monotonic() - begin) * 1000))
    raise CannotRead(
        f"{url.display()} could not be read: its schema changes meanwhile. Check again when that has ended."
    )


def compare_identity(
    enrolled: Identity, found: Identity, *, last_timeline: int = 0, planned_timeline: int = 0
) -> IdentityCheck:
    """Say whether ``found`` is the enrolled database, and what else has changed since it was enrolled.

    ``last_timeline`` is that of the reading before: a server with an older one was left behind by a failover.
    ``planned_timeline`` is that of the newest plan, until which a failover is remarked. Either is 0 where there is none.
    """
    then, now = enrolled.endpoint, found.endpoint
    differences = _differing(
        ("host", then.host, now.host),
        ("port", then.port, now.port),
        ("database of the URL", then.database, now.database),
        ("database's own name", enrolled.database, found.database),
        ("database's oid", enrolled.database_oid, found.database_oid),
    )
    remarks = _differing(
        ("user", enrolled.user, found.user),
        ("address that the server tells", enrolled.server_address, found.server_address),
        ("port that the server tells", enrolled.server_port, found.server_port),
        ("server version", enrolled.server_version, found.server_version),
    )
    _compare_system(enrolled, found, differences, remarks)
    since, settled = "enrolment", enrolled.timeline
    if planned_timeline > enrolled.timeline:
        since, settled = "the last plan", planned_timeline
    _compare_timeline(found, differences, remarks, settled=settled, newest=max(settled, last_timeline), since=since)
    return IdentityCheck(matches=not differences, differences=tuple(differences), remarks=tuple(remarks))


def _snapshot(
    connection: _Connection, url: TargetUrl, version_table: str, version_schema: str, statement_timeout_ms: int
) -> Reading:
    with session.snapshot(connection, statement_timeout_ms=statement_timeout_ms) as search_path:
        tables = _version_tables(connection, version_table)
        wanted = [table for table in tables if table.name == version_table]
        found = _in_schema(wanted, version_schema) if version_schema else _reached(wanted, search_path, url)
        return Reading(
            identity=_identity(connection, url),
            revisions=None if found is None else _revisions(connection, found),
            catalog=catalog.read(connection),
            pooled=connection.info.backend_pid != _value(connection, "SELECT pg_backend_pid()"),
            duration_ms=0,
            version_tables=tuple(table.display for table in tables if table.kind in ("r", "p")),
            prepared_transactions=tuple(clean(gid) for (gid,) in connection.execute(_PREPARED)),
            marking=marker.read(connection),
            server_started_at=_told(connection, _STARTED_AT) or "",
            wal_position=_told(connection, _WAL_POSITION) or "",
        )


def _changed(name: str, before: object, after: object) -> str:
    return (
        f"The {name} was {clean(str(before)) or 'not told'} at enrolment and is {clean(str(after)) or 'not told'} now."
    )


def _differing(*facts: tuple[str, object, object]) -> list[str]:
    return [_changed(name, before, after) for name, before, after in facts if before != after]


def _compare_system(enrolled: Identity, found: Identity, differences: list[str], remarks: list[str]) -> None:
    if enrolled.system_identifier and enrolled.system_identifier != found.system_identifier:
        differences.append(_changed("system identifier", enrolled.system_identifier, found.system_identifier))
    elif not enrolled.system_identifier:
        remarks.append(
            "The server did not tell its system identifier at enrolment; identity rests on address, name and oid."
        )


def _compare_timeline(
    found: Identity, differences: list[str], remarks: list[str], *, settled: int, newest: int, since: str
) -> None:
    if found.in_recovery:
        remarks.append("The server is a standby.")
    if found.timeline and found.timeline < newest:
        differences.append(
            f"The timeline went back from {newest} to {found.timeline}: a server from before a failover answers."
        )
    elif found.timeline != settled:
        words = f"a failover happened since {since}" if found.timeline and settled else "0 means not told"
        remarks.append(f"The timeline was {settled} and is {found.timeline}: {words}.")


def _identity(connection: _Connection, url: TargetUrl) -> Identity:
    with connection.cursor(row_factory=dict_row) as cursor:
        facts: dict[str, Any] = cursor.execute(_FACTS).fetchone() or {}
    return Identity(
        endpoint=url.endpoint,
        system_identifier=_told(connection, _SYSTEM_IDENTIFIER) or "",
        timeline=_told(connection, _TIMELINE) or 0,
        **facts,
    )


def _told(connection: _Connection, query: LiteralString) -> Any:
    """The value, or None where a service withholds the function from ordinary roles or from everybody."""
    try:
        with connection.transaction():
            return _value(connection, query)
    except _NOT_TOLD:
        return None


def _value(connection: _Connection, query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _version_tables(connection: _Connection, version_table: str) -> list[_VersionTable]:
    with connection.cursor(row_factory=class_row(_VersionTable)) as cursor:
        return cursor.execute(_VERSION_TABLES, {"version_table": version_table}).fetchall()


def _in_schema(tables: list[_VersionTable], schema: str) -> _VersionTable | None:
    return next((table for table in tables if table.schema == schema), None)


def _reached(tables: list[_VersionTable], search_path: tuple[str, ...], url: TargetUrl) -> _VersionTable | None:
    for schema in search_path:
        if found := _in_schema(tables, schema):
            return found
    if tables:
        names = clean(", ".join(table.display for table in tables))
        raise UnreadableVersionTable(
            f"{url.display()} holds {names}, which the search path of this user ({clean(', '.join(search_path)) or 'empty'}) "
            "does not reach. Alembic would begin anew beside it: set the version table's schema in the project."
        )
    return None


def _revisions(connection: _Connection, table: _VersionTable) -> tuple[str, ...]:
    if table.kind in _KIND_WORDS:
        raise version_rows.wrong_kind(table.display, _KIND_WORDS[table.kind])
    if not table.has_version_num:
        raise version_rows.without_column(table.display)
    query = sql.SQL("SELECT version_num::text FROM {} LIMIT %s").format(sql.Identifier(table.schema, table.name))
    rows = [row for (row,) in connection.execute(query, [MAX_REVISION_ROWS + 1])]
    return version_rows.checked(rows, table=table.display)
