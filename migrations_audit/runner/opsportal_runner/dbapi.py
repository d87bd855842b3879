"""Questions on the connections of any driver, below SQLAlchemy."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from . import telling

LONGEST_WAIT_S = 86_400  # where 0 would mean not to wait at all


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


def endpoint(facts: telling.Facts) -> str:
    return f"{facts['user']}@{str(facts['host']).lower()}:{facts['port']}/{facts['database']}"


def quoted(names: Sequence[str], mark: str) -> str:
    return ".".join(mark + name.replace(mark, mark + mark) + mark for name in names if name)
