"""The portal's marker in a target: one row in a schema of our own, by which a copy of the database is told from the database.

System identifier, database oid and timeline of a physical copy are those of its original. The marker names the address for
which it was written, and is written anew with another id where a copy is meant to be a target of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, LiteralString, TypeAlias

import psycopg
from psycopg.rows import TupleRow, class_row

from migrations_audit.engine import fence, session
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.types import Endpoint, Identity, Marker, Marking
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError

CONNECT_TIMEOUT_S: Final = 5
DEADLINE_S: Final = 10
LOCK_TIMEOUT_MS: Final = 500
STATEMENT_TIMEOUT_MS: Final = 3_000
MOST_MARKERS: Final = 20
LONGEST_TEXT: Final = 300

_Connection: TypeAlias = psycopg.Connection[TupleRow]

_RIGHTS: Final[LiteralString] = """
    SELECT coalesce(c.relkind::text, ''),
           coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false),
           coalesce(CASE WHEN c.oid IS NOT NULL THEN has_schema_privilege(n.oid, 'USAGE')
                              AND has_table_privilege(c.oid, 'SELECT')
                              AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
                         WHEN n.oid IS NOT NULL THEN has_schema_privilege(n.oid, 'USAGE')
                              AND has_schema_privilege(n.oid, 'CREATE')
                         ELSE has_database_privilege(current_database(), 'CREATE') END, false)
      FROM (VALUES (1)) one
      LEFT JOIN pg_namespace n ON n.nspname = 'opsportal'
      LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'marker'
"""
_ROWS: Final[LiteralString] = """
    SELECT id::text AS id, portal::text AS portal, target::text AS target, endpoint::text AS endpoint,
           to_char(written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS written_at
      FROM opsportal.marker
     WHERE portal IS NOT NULL AND id IS NOT NULL AND target IS NOT NULL AND endpoint IS NOT NULL AND written_at IS NOT NULL
     ORDER BY portal LIMIT %s
"""
# Everybody may read it, so that another role of the same target does not take the database for a replaced one.
_MAKE_SCHEMA: Final[LiteralString] = "CREATE SCHEMA IF NOT EXISTS opsportal"
_MAKE_TABLE: Final[LiteralString] = """
    CREATE TABLE IF NOT EXISTS opsportal.marker (
        portal text PRIMARY KEY,
        target text NOT NULL,
        endpoint text NOT NULL,
        id uuid NOT NULL,
        written_at timestamptz NOT NULL
    );
    COMMENT ON TABLE opsportal.marker IS 'Written by a migration portal that enrolled this database. By it a copy is recognised.';
    GRANT USAGE ON SCHEMA opsportal TO PUBLIC;
    GRANT SELECT ON opsportal.marker TO PUBLIC
"""
_MADE: Final[LiteralString] = (
    "SELECT to_regnamespace('opsportal') IS NOT NULL, to_regclass('opsportal.marker') IS NOT NULL"
)
# Only what was read is replaced: whoever was faster keeps their row.
_PUT: Final[LiteralString] = """
    INSERT INTO opsportal.marker AS m (portal, target, endpoint, id, written_at)
    VALUES (%(portal)s, %(target)s, %(endpoint)s, %(id)s, now())
    ON CONFLICT (portal) DO UPDATE
       SET target = excluded.target, endpoint = excluded.endpoint, id = excluded.id, written_at = excluded.written_at
     WHERE m.id::text = %(replaces)s
    RETURNING to_char(written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
"""
_WHERE: Final[LiteralString] = """
    SELECT pg_is_in_recovery(), pg_backend_pid(), current_database()::text,
           (SELECT oid::int8 FROM pg_database WHERE datname = current_database()),
           to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
"""
_NOT_OURS: Final = "The table opsportal.marker is not the portal's: "
_UNUSABLE: Final = (psycopg.ProgrammingError, psycopg.DataError)


class NotMarked(PortalError):
    """The marker was not written now. The next reading tries again."""

    code = "not_marked"


def address(endpoint: Endpoint) -> str:
    """An endpoint as markers name it: ``host:port/database``, whoever the user is."""
    return f"{endpoint.host}:{endpoint.port}/{endpoint.database}"


def read(connection: _Connection) -> Marking:
    """The markers in the connected database; call it inside ``session.snapshot``. What cannot be read is told, not raised."""
    row = connection.execute(_RIGHTS).fetchone()
    kind, readable, writable = row if row else ("", False, False)
    if not kind:
        return Marking(may_write=bool(writable))
    if kind != "r":
        return Marking(problem=f"{_NOT_OURS}it is no ordinary table.")
    if not readable:
        return Marking(problem="This role may not read the table opsportal.marker. Grant it SELECT there.")
    try:
        with connection.transaction(), connection.cursor(row_factory=class_row(Marker)) as cursor:
            rows = cursor.execute(_ROWS, [MOST_MARKERS]).fetchall()
    except _UNUSABLE as error:
        return Marking(problem=f"{_NOT_OURS}{clean(error.diag.message_primary or type(error).__name__)}.")
    return Marking(markers=tuple(_fit(row) for row in rows), may_write=bool(writable))


def write(url: TargetUrl, *, marker: Marker, replaces: str, identity: Identity, server_started_at: str) -> Marker:
    """Leave ``marker`` in the database that was just read as ``identity``, where ``replaces`` is the id that was read there, or
    nothing. Returns it with the moment that was written.

    In one transaction with short timeouts, and under the run lock, so that it never meets a run. Raises NotMarked when the
    database is another one meanwhile, is a standby, lies behind a pooler, is busy or holds another marker by now; CannotRead.
    """
    with session.connect(
        url, application_name=fence.OBSERVER, connect_timeout_s=CONNECT_TIMEOUT_S, deadline_s=DEADLINE_S
    ) as connection:
        _be_there(connection, identity, server_started_at)
        connection.read_only = False
        with connection.transaction():
            connection.execute(
                "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),"
                " pg_catalog.set_config('lock_timeout', %s, true), pg_catalog.set_config('statement_timeout', %s, true)",
                [str(LOCK_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS)],
            )
            _take_lock(connection)
            _make(connection)
            row = connection.execute(_PUT, {**vars(marker), "replaces": replaces}).fetchone()
            if row is None:
                raise NotMarked("Somebody else marked the database meanwhile. The next reading tells who.")
    return replace(marker, written_at=str(row[0]))


def _be_there(connection: _Connection, identity: Identity, server_started_at: str) -> None:
    row = connection.execute(_WHERE).fetchone()
    in_recovery, pid, database, oid, started_at = row if row else (True, 0, "", 0, "")
    if in_recovery or pid != connection.info.backend_pid:
        raise NotMarked("A standby or a connection pooler answers, so the marker was not written.")
    if (database, oid, started_at) != (identity.database, identity.database_oid, server_started_at):
        raise NotMarked("Another server answers than the one that was read, so the marker was not written.")


def _take_lock(connection: _Connection) -> None:
    lock = connection.execute(
        "SELECT pg_try_advisory_xact_lock(%s, %s)", [fence.LOCK_KEY[0], fence.LOCK_KEY[1]]
    ).fetchone()
    if lock is None or not lock[0]:
        raise NotMarked("The run lock is held in the database, so the marker was not written.")


def _make(connection: _Connection) -> None:
    # IF NOT EXISTS asks for the right to create even where nothing is to be created.
    row = connection.execute(_MADE).fetchone()
    has_schema, has_table = row if row else (False, False)
    if not has_schema:
        connection.execute(_MAKE_SCHEMA)
    if not has_table:
        connection.execute(_MAKE_TABLE)


def _fit(row: Marker) -> Marker:
    return Marker(**{name: clean(value)[:LONGEST_TEXT] for name, value in vars(row).items()})
