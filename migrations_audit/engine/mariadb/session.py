"""One short connection to MariaDB or MySQL, with every failure told as a sentence and without the password."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import pymysql
import pymysql.cursors

from migrations_audit.engine.mariadb.url import MariadbUrl
from migrations_audit.engine.redaction import Redactor
from migrations_audit.engine.session import LOCK_TIMEOUT_MS, MAX_REASON, CannotRead, shut_after
from migrations_audit.states import Engine

Connection: TypeAlias = "pymysql.Connection[pymysql.cursors.Cursor]"
Rows: TypeAlias = Sequence[Sequence[Any]]

# By the server's error number; those from 2000 on are the client's own.
_NUMBERS: Final = {
    1044: ("permission", "this user may not use this database. Grant it, or check the database's name"),
    1045: ("authentication", "the server did not accept this user or password from here. Check the URL"),
    1698: ("authentication", "the server did not accept this user or password from here. Check the URL"),
    1130: ("authentication", "the server accepts no connection from this host. Grant the user access from the worker"),
    1129: ("authentication", "the server blocks this host after too many broken connections. Flush its hosts"),
    1049: ("no_such_database", "there is no such database on this server. Check the database's name in the URL"),
    1040: ("too_many_connections", "the server has no free connection. Wait, or raise the limit"),
    1203: ("too_many_connections", "this user has no free connection. Wait, or raise the limit"),
    1226: ("too_many_connections", "this user has used up one of its limits. Wait, or raise the limit"),
    1053: ("starting_up", "the server is stopping. Wait and check again"),
    1142: ("permission", "this user may not read it. Grant SELECT on the version table"),
    1143: ("permission", "this user may not read it. Grant SELECT on the version table"),
    1205: ("timeout", "another session holds a lock on what must be read. Check again when that session has ended"),
    1969: ("timeout", "a statement took longer than its limit. Check the server's load"),
    3024: ("timeout", "a statement took longer than its limit. Check the server's load"),
    2026: ("tls", "no encrypted connection as the URL demands could be made. Check its ssl_ca and ssl_cert"),
    2003: ("unreachable", "the worker does not reach it. Check host and port, and the route to the server"),
    2005: ("unreachable", "the worker does not know this host. Check its name"),
    2006: ("unreachable", "the connection broke. Check the route between the worker and the server"),
    2013: ("unreachable", "the connection broke. Check the route between the worker and the server"),
    2055: ("unreachable", "the connection broke. Check the route between the worker and the server"),
}
_TIMEOUT: Final = ("timeout", "it did not answer in time. Check the server's load and the route to it")
_OTHER: Final = ("other", "the server answered with an error")


@contextlib.contextmanager
def connect(
    url: MariadbUrl, *, application_name: str, connect_timeout_s: float, deadline_s: float, statement_timeout_ms: int
) -> Iterator[Connection]:
    """Open a fresh autocommit connection with our settings and close it at the end.

    ``deadline_s`` bounds all that follows: when it passes, the socket is shut. Raises CannotRead for whatever the database or
    the network does.
    """
    try:
        connection = pymysql.connect(
            **url.connect_arguments(),
            program_name=application_name,
            connect_timeout=max(1, round(connect_timeout_s)),
            read_timeout=deadline_s,
        )
    except (pymysql.Error, OSError) as error:
        raise told(url, error) from None
    expired = threading.Event()
    descriptor = connection._sock.fileno()  # type: ignore[attr-defined]  # PyMySQL has no public name for its socket
    with shut_after(descriptor, deadline_s, expired):
        try:
            _settle(connection, statement_timeout_ms)
            yield connection
        except (pymysql.Error, OSError) as error:
            raise told(url, error, expired=expired.is_set()) from None
        finally:
            with contextlib.suppress(pymysql.Error, OSError):
                connection.close()


def rows(connection: Connection, query: str, values: Sequence[object] = ()) -> Rows:
    """All rows of one query."""
    with connection.cursor() as cursor:
        cursor.execute(query, tuple(values) or None)
        return cursor.fetchall()


def value(connection: Connection, query: str, values: Sequence[object] = ()) -> Any:
    """The first value of one query, or None."""
    found = rows(connection, query, values)
    return found[0][0] if found else None


def protocol_id(connection: Connection) -> int:
    """The session's id as the wire protocol gave it. A proxy gives its own."""
    return int(connection.thread_id())  # type: ignore[no-untyped-call]  # of the stubs


def engine_of(connection: Connection) -> Engine:
    """Which of the two it is, by the version that the server tells."""
    return Engine.MARIADB if "mariadb" in str(value(connection, "SELECT VERSION()")).lower() else Engine.MYSQL


def told(url: MariadbUrl, error: Exception, *, expired: bool = False) -> CannotRead:
    """The failure as a CannotRead."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1] if len(error.args) > 1 else error)
    code, sentence = _NUMBERS.get(number, _OTHER)
    if expired or "timed out" in text or isinstance(error, TimeoutError):
        code, sentence = _TIMEOUT
    reason = " ".join(Redactor([url.password]).text(text).split())[:MAX_REASON].rstrip(".")
    return CannotRead(f"{url.display()} could not be read: {sentence}. The reason given: {reason}.", code=code)


def _settle(connection: Connection, statement_timeout_ms: int) -> None:
    """Limits, and what the text of the catalog depends on. The session is ours alone, so nothing has to be put back."""
    lock_s = max(1, LOCK_TIMEOUT_MS // 1000)
    limit = (
        f"max_statement_time = {statement_timeout_ms / 1000:.3f}"
        if engine_of(connection) is Engine.MARIADB
        else f"max_execution_time = {statement_timeout_ms}"
    )
    rows(
        connection,
        f"SET SESSION sql_mode = '', time_zone = '+00:00', sql_quote_show_create = 1, group_concat_max_len = 1048576,"
        f" lock_wait_timeout = {lock_s}, innodb_lock_wait_timeout = {lock_s}, {limit}",
    )
