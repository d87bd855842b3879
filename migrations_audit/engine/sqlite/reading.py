"""Reading a SQLite file: which file it is, which revisions it records, what its catalog holds. Nothing is written."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from migrations_audit.engine import version_rows
from migrations_audit.engine.sqlite import catalog, session
from migrations_audit.engine.sqlite.url import SqliteUrl
from migrations_audit.engine.types import Identity, Reading
from migrations_audit.states import Engine

_VERSION_TABLES: Final = r"""
    SELECT name, type, upper(coalesce(sql, '')) LIKE 'CREATE VIRTUAL%' FROM sqlite_schema
     WHERE type IN ('table', 'view') AND (name LIKE '%alembic\_version%' ESCAPE '\' OR lower(name) = lower(?)) ORDER BY name
"""


def read(url: SqliteUrl, *, version_table: str, version_schema: str, statement_timeout_ms: int) -> Reading:
    """Read the file once, on a fresh connection, in one read transaction. Raises CannotRead.

    SQLite has no schemas, so ``version_schema`` is empty or ``main``.
    """
    begin = time.monotonic()
    if version_schema not in ("", "main"):
        raise version_rows.UnreadableVersionTable(
            f"SQLite has no schema {version_schema}. Leave the version table's schema empty in the project."
        )
    status = session.found(url)
    with session.connect(url, mode="ro", deadline_s=4 * statement_timeout_ms / 1000) as connection:
        connection.execute("BEGIN")
        tables = connection.execute(_VERSION_TABLES, [version_table]).fetchall()
        reading = Reading(
            identity=_identity(url, status.st_ino),
            revisions=_revisions(connection, version_table, tables),
            catalog=catalog.read(connection),
            pooled=False,
            duration_ms=round((time.monotonic() - begin) * 1000),
            version_tables=tuple(name for name, kind, _ in tables if kind == "table"),
        )
        connection.execute("ROLLBACK")
    return reading


def identifier(inode: int) -> str:
    """What stands for a system identifier. A device's number may change with every start of a machine; an inode's does not."""
    return f"inode {inode}"


def _identity(url: SqliteUrl, inode: int) -> Identity:
    return Identity(
        endpoint=url.endpoint,
        system_identifier=identifier(inode),
        database_oid=0,
        database=url.database,
        user="",
        server_address="",
        server_port=0,
        server_version=sqlite3.sqlite_version,
        timeline=0,
        in_recovery=False,
        engine=Engine.SQLITE.value,
    )


def _revisions(
    connection: sqlite3.Connection, version_table: str, tables: list[tuple[str, str, int]]
) -> tuple[str, ...] | None:
    # SQLite takes names for the same whatever their case.
    found = next((each for each in tables if each[0].lower() == version_table.lower()), None)
    if found is None:
        return None
    name, kind, is_virtual = found
    if kind == "view" or is_virtual:
        raise version_rows.wrong_kind(name, "a view" if kind == "view" else "a virtual table")
    columns = [row[0].lower() for row in connection.execute("SELECT name FROM pragma_table_info(?)", [name])]
    if "version_num" not in columns:
        raise version_rows.without_column(name)
    quoted = '"' + name.replace('"', '""') + '"'
    query = f"SELECT version_num FROM {quoted} LIMIT ?"  # noqa: S608  (the name is quoted)
    rows = [row for (row,) in connection.execute(query, [version_rows.MAX_REVISION_ROWS + 1])]
    return version_rows.checked([None if row is None else str(row) for row in rows], table=name)
