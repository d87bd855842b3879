"""What a change would meet on a target now: sizes, who works with its tables, long transactions, dumps, standbys. Read-only.

What a role may not see is left out and said so; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row

from migrations_audit.engine import session, sizes
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.urls import TargetUrl

LONG_S: Final = 60
MOST: Final = 20
MOST_HOLDERS: Final = 200
"""Of these a page shows the first; whom the plan would wait for is looked for among all of them."""
STATEMENT_TIMEOUT_MS: Final = 5_000

_NAMED: Final[LiteralString] = """
    SELECT DISTINCT format('%%I.%%I', n.nspname, t.relname) AS name
      FROM (SELECT DISTINCT ON (asked.schema, asked.name) coalesce(i.indrelid, c.oid) AS oid
              FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked(schema, name)
              JOIN pg_class c ON c.relname = asked.name::name AND c.relkind IN ('r', 'p', 'm', 'i', 'I') AND c.oid >= 16384
              JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN pg_index i ON i.indexrelid = c.oid
             WHERE n.nspname = asked.schema::name
                OR asked.schema = '' AND n.nspname::text = ANY (%(path)s::text[])
             ORDER BY asked.schema, asked.name, array_position(%(path)s::text[], n.nspname::text)) AS found
      JOIN pg_class t ON t.oid = found.oid
      JOIN pg_namespace n ON n.oid = t.relnamespace
"""
# A prepared transaction holds its locks without a process. The documented join, virtualtransaction = '-1/' || transaction, finds
# it only after the server was started anew; before that it has that of the session that prepared it. It always locks its own xid.
_HOLDERS: Final[LiteralString] = """
    WITH held AS MATERIALIZED (
      SELECT asked.name AS relation, l.pid, l.virtualtransaction, string_agg(DISTINCT l.mode, ', ') AS mode
        FROM unnest(%(names)s::text[]) AS asked(name)
        JOIN pg_locks l ON l.locktype = 'relation' AND l.granted AND l.relation = to_regclass(asked.name)
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       GROUP BY asked.name, l.pid, l.virtualtransaction)
    SELECT held.relation, held.mode, a.pid, '' AS gid, coalesce(a.usename::text, '') AS user,
           coalesce(a.application_name, '') AS program, coalesce(a.state, '') AS state, coalesce(a.query, '') AS query,
           extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s
      FROM held JOIN pg_stat_activity a ON a.pid = held.pid
     WHERE a.pid <> pg_backend_pid()
     UNION ALL
    SELECT held.relation, held.mode, NULL, p.gid, p.owner::text, '', 'prepared', '',
           extract(epoch FROM clock_timestamp() - p.prepared)::float8
      FROM held
      JOIN pg_locks own ON own.locktype = 'transactionid' AND own.granted AND own.mode = 'ExclusiveLock'
       AND own.pid IS NULL AND own.virtualtransaction = held.virtualtransaction
      JOIN pg_prepared_xacts p ON p.transaction = own.transactionid
     WHERE held.pid IS NULL
     ORDER BY transaction_s DESC NULLS LAST
     LIMIT %(most_holders)s
"""
_LONG: Final[LiteralString] = """
    SELECT a.pid, '' AS gid, coalesce(a.usename::text, '') AS user, coalesce(a.application_name, '') AS program,
           coalesce(a.state, '') AS state, coalesce(a.query, '') AS query,
           extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s
      FROM pg_stat_activity a
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
       AND (a.xact_start < clock_timestamp() - make_interval(secs => %(long)s) OR a.application_name = 'pg_dump')
     UNION ALL
    SELECT NULL, p.gid, p.owner::text, '', 'prepared', '', extract(epoch FROM clock_timestamp() - p.prepared)::float8
      FROM pg_prepared_xacts p
     WHERE p.database = current_database() AND p.prepared < clock_timestamp() - make_interval(secs => %(long)s)
     ORDER BY transaction_s DESC NULLS LAST LIMIT %(most)s
"""
_BACKUPS: Final[LiteralString] = """
    SELECT b.pid, coalesce(a.usename::text, '') AS user, coalesce(a.application_name, '') AS program,
           coalesce(b.phase, '') AS phase
      FROM pg_stat_progress_basebackup b LEFT JOIN pg_stat_activity a ON a.pid = b.pid
     ORDER BY b.pid LIMIT %(most)s
"""
# The time is that of what was replayed last: none for a standby that had nothing to replay of late, and an old one for a standby
# that has stopped. The bytes are as of now. A role that may not see them gets neither.
_STANDBYS: Final[LiteralString] = """
    SELECT coalesce(r.application_name, '') AS name, coalesce(r.state, '') AS state, coalesce(r.sync_state, '') AS sync,
           extract(epoch FROM r.replay_lag)::float8 AS lag_s,
           CASE WHEN r.replay_lsn IS NOT NULL AND NOT pg_is_in_recovery()
                THEN greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn), 0)::int8 END AS behind_bytes
      FROM pg_stat_replication r
     WHERE NOT EXISTS (SELECT FROM pg_stat_progress_basebackup b WHERE b.pid = r.pid)
     ORDER BY 1 LIMIT %(most)s
"""
_AS_THEY_ARE: Final = ("relation",)
"""Names of relations are compared with those that the copy told; who shows them makes them fit to show."""
_SEES_OTHERS: Final[LiteralString] = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"


@dataclass(frozen=True)
class Impact:
    """``holders`` and ``long`` are sessions, and prepared transactions, which have a ``gid`` and no ``pid``.

    ``sees_others``: whether this role may see what other roles' sessions do; without it their queries are not told.

    ``backups`` are those of the whole server. Of a standby ``lag_s`` and ``behind_bytes`` are None where they are not told.
    """

    relations: Sequence[dict[str, Any]] = ()
    holders: Sequence[dict[str, Any]] = ()
    long: Sequence[dict[str, Any]] = ()
    backups: Sequence[dict[str, Any]] = ()
    standbys: Sequence[dict[str, Any]] = ()
    sees_others: bool = False
    at: str = ""
    problem: str = field(default="")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read(
    url: TargetUrl, *, names: Sequence[str], named: Sequence[tuple[str, str]] = (), application_name: str
) -> Impact:
    """Read the target once for the relations with these qualified names, and those that ``named`` finds there.

    ``named`` are schemas and names as SQL has them. One without a schema is looked for in the search path of the role, and an
    index stands for its table. Raises CannotRead.
    """
    with session.connect(
        url, application_name=application_name, connect_timeout_s=5, deadline_s=4 * STATEMENT_TIMEOUT_MS / 1000
    ) as connection:
        connection.execute("SET default_transaction_read_only = on")
        path = connection.execute("SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]").fetchone()
        connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
        connection.execute("SET search_path = pg_catalog")
        with connection.cursor(row_factory=dict_row) as cursor:
            asked = {"schemas": [schema for schema, _ in named], "tables": [name for _, name in named]}
            found = cursor.execute(_NAMED, {**asked, "path": path[0] if path else []}).fetchall() if named else []
            there = sorted({*names, *(row["name"] for row in found)})
            values = {"names": there, "most": MOST, "most_holders": MOST_HOLDERS, "long": LONG_S}
            sees = cursor.execute(_SEES_OTHERS).fetchone() or {}
            at = cursor.execute(
                "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS at"
            ).fetchone()
            return Impact(
                relations=sizes.read(cursor, there),
                holders=_rows(cursor, _HOLDERS, values),
                long=_rows(cursor, _LONG, values),
                backups=_rows(cursor, _BACKUPS, values),
                standbys=_rows(cursor, _STANDBYS, values),
                sees_others=any(sees.values()),
                at=str((at or {}).get("at", "")),
            )


def _rows(cursor: psycopg.Cursor[DictRow], query: LiteralString, values: dict[str, Any]) -> list[dict[str, Any]]:
    rows = cursor.execute(query, values).fetchall()
    return [
        {
            name: clean(value) if isinstance(value, str) and name not in _AS_THEY_ARE else value
            for name, value in row.items()
        }
        for row in rows
    ]
