"""Reading a MariaDB or MySQL database: who it is, which revisions it records, what its catalog holds. Nothing is written."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any, Final

import pymysql

from migrations_audit.engine import version_rows
from migrations_audit.engine.mariadb import catalog, session
from migrations_audit.engine.mariadb.session import Connection
from migrations_audit.engine.mariadb.url import MariadbUrl
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.types import Catalog, Identity, Reading
from migrations_audit.states import Engine

ATTEMPTS: Final = 5

_FACTS: Final = """
    SELECT DATABASE(), SUBSTRING_INDEX(USER(), '@', 1), @@hostname, @@port, VERSION(),
           @@global.read_only OR @@global.innodb_read_only, CONNECTION_ID()
"""
_VERSION_TABLES: Final = r"""
    SELECT t.table_name, t.table_type, (SELECT c.data_type FROM information_schema.columns c
            WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.column_name = 'version_num')
      FROM information_schema.tables t
     WHERE t.table_schema = %s AND (t.table_name LIKE '%%alembic\_version%%' OR t.table_name = %s)
     ORDER BY t.table_name
"""
_TEXT_TYPES: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})


def read(
    url: MariadbUrl,
    *,
    version_table: str,
    version_schema: str,
    application_name: str,
    connect_timeout_s: float,
    statement_timeout_ms: int,
) -> Reading:
    """Read the database once, on a fresh connection, in read-only transactions. Raises CannotRead.

    ``version_schema`` names another database on the server, as Alembic's ``version_table_schema`` does there.
    """
    begin = time.monotonic()
    with session.connect(
        url,
        application_name=application_name,
        connect_timeout_s=connect_timeout_s,
        deadline_s=4 * statement_timeout_ms / 1000,
        statement_timeout_ms=statement_timeout_ms,
    ) as connection:
        session.rows(connection, "SET SESSION TRANSACTION READ ONLY")
        session.rows(connection, "START TRANSACTION READ ONLY")
        identity, own_id = _identity(connection, url)
        schema = version_schema or url.database
        tables = session.rows(connection, _VERSION_TABLES, [schema, version_table])
        reading = Reading(
            identity=identity,
            revisions=_revisions(connection, schema, version_table, tables),
            catalog=_steady_catalog(connection, url, Engine(identity.engine)),
            pooled=session.protocol_id(connection) != own_id,
            duration_ms=round((time.monotonic() - begin) * 1000),
            version_tables=tuple(name for name, kind, _ in tables if kind != "VIEW"),
        )
        session.rows(connection, "ROLLBACK")
    return reading


def _identity(connection: Connection, url: MariadbUrl) -> tuple[Identity, int]:
    engine = session.engine_of(connection)
    database, user, host, port, version, read_only, own_id = session.rows(connection, _FACTS)[0]
    name = "server_uid" if engine is Engine.MARIADB else "server_uuid"
    identity = Identity(
        endpoint=url.endpoint,
        system_identifier=str(_told(connection, f"SELECT @@global.{name}") or ""),
        database_oid=0,
        database=database,
        user=user,
        server_address=host,
        server_port=port,
        server_version=(re.match(r"[0-9.]+", version) or [version])[0],
        timeline=0,
        in_recovery=bool(read_only) or _is_replica(connection, engine),
        engine=engine.value,
    )
    return identity, own_id


def _is_replica(connection: Connection, engine: Engine) -> bool:
    # A replica that takes writes would part from its primary with the first of them.
    query = "SHOW ALL SLAVES STATUS" if engine is Engine.MARIADB else "SHOW REPLICA STATUS"
    return bool(_told(connection, query))


def _told(connection: Connection, query: str) -> Any:
    """The value, or None where the version does not have it or this user may not ask."""
    with suppress(pymysql.OperationalError, pymysql.ProgrammingError):
        return session.value(connection, query)
    return None


def _revisions(connection: Connection, schema: str, table: str, tables: session.Rows) -> tuple[str, ...] | None:
    found = next(((kind, type_) for name, kind, type_ in tables if name == table), None)
    if found is None:
        return None
    if found[0] == "VIEW":
        raise version_rows.wrong_kind(table, "a view")
    if found[1] not in _TEXT_TYPES:
        raise version_rows.without_column(table)
    query = f"SELECT version_num FROM {quoted(schema)}.{quoted(table)} LIMIT %s"  # noqa: S608  (the names are quoted)
    rows = session.rows(connection, query, [version_rows.MAX_REVISION_ROWS + 1])
    return version_rows.checked([row for (row,) in rows], table=table)


def quoted(name: str) -> str:
    """An identifier for a statement that takes values by ``%s``."""
    return "`" + name.replace("`", "``").replace("%", "%%") + "`"


def _steady_catalog(connection: Connection, url: MariadbUrl, engine: Engine) -> Catalog:
    """The catalog as two readings in a row tell it: DDL is not part of any transaction, so one may be half of a change."""
    before = catalog.read(connection, url.database, engine)
    for _ in range(ATTEMPTS):
        after = catalog.read(connection, url.database, engine)
        if after == before:
            return after
        before = after
    raise CannotRead(
        f"{url.display()} could not be read: its schema changes meanwhile. Check again when that has ended."
    )
