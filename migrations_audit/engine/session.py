"""One short connection to a target, with every failure told as a sentence with a stable code and without the password."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from migrations_audit.engine.redaction import Redactor
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError

MAX_REASON: Final = 300
LOCK_TIMEOUT_MS: Final = 2000

# What a role, a database or a pooler's earlier client may have set and what the text of the catalog depends on.
PINNED: Final = {
    "search_path": "pg_catalog, pg_temp",
    "row_security": "off",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
}


class CannotRead(PortalError):
    """The target could not be read.

    ``code`` is one of unreachable, timeout, authentication, no_such_database, too_many_connections, permission, tls,
    starting_up, unreadable_version_table and other.
    """

    code = "other"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code


@dataclass(frozen=True)
class _Kind:
    """A kind of failure: what connecting says of it (quoted names taken out, lower case), and what we say."""

    code: str
    pattern: str
    sentence: str


# libpq gives no SQLSTATE for a refused connection, so its text is all there is. The first match wins; where several
# addresses were tried, the text holds all their failures, and the one that got furthest comes first here. A server that
# speaks another language falls to "other", with its own words.
_KINDS: Final = (
    _Kind(
        "no_such_database",
        r"database does not exist|no such database",
        "there is no such database on this server. Check the database's name in the URL behind the target's reference",
    ),
    _Kind(
        "authentication",
        r"password authentication failed|authentication failed|no password supplied|role does not exist|no pg_hba.conf entry"
        r"|pg_hba.conf rejects|scram|sasl|authentication method|not permitted to log in",
        "the server did not accept this user or password from here. Check the URL behind the target's reference, and pg_hba.conf",
    ),
    _Kind(
        "too_many_connections",
        r"too many clients|too many connections|remaining connection slots|no more connections allowed",
        "the server, the database or the role has no free connection. Wait, or raise the limit",
    ),
    _Kind(
        "starting_up",
        r"the database system is|not yet accepting connections",
        "the server is starting, stopping or recovering. Wait and check again",
    ),
    _Kind(
        "permission",
        r"permission denied|not currently accepting connections|must be superuser",
        "this user may not connect to this database. Grant CONNECT, or check the database",
    ),
    _Kind(
        "tls",
        r"ssl|certificate|tls|channel binding",
        "no encrypted connection as the URL demands could be made. Check sslmode and the certificates",
    ),
    _Kind(
        "timeout",
        r"timeout|timed out",
        "it did not answer in time. Check the route and firewall between the worker and the server",
    ),
    _Kind(
        "unreachable",
        r"refused|resolve|name or service|no route|unreachable|reset by peer|closed the connection|could not connect"
        r"|network|no address|name resolution|broken pipe",
        "the worker does not reach it. Check host and port, and the route between the worker and the server",
    ),
)
_OTHER: Final = _Kind("other", "", "the connection failed for a reason that the portal does not know")

# By SQLSTATE or its class, once connected.
_STATES: Final = {
    "55P03": ("timeout", "another session holds a lock on what must be read. Check again when that session has ended"),
    "57014": ("timeout", "a statement took longer than its limit. Check the server's load"),
    "42501": ("permission", "this user may not read it. Grant SELECT on the version table and USAGE on its schema"),
    "53300": ("too_many_connections", "the server has no free connection. Wait, or raise the limit"),
    "22021": ("other", "it holds names or text that are not valid in UTF-8. Rename them"),
    "57P03": ("starting_up", "the server is not accepting connections now. Wait and check again"),
    "57P": ("unreachable", "the server ended the connection. Check again when it is back"),
    "08": ("unreachable", "the connection broke. Check the route between the worker and the server"),
}


@contextlib.contextmanager
def connect(
    url: TargetUrl, *, application_name: str, connect_timeout_s: float, deadline_s: float
) -> Iterator[psycopg.Connection[TupleRow]]:
    """Open a fresh autocommit connection and close it at the end.

    ``connect_timeout_s`` bounds connecting (per address of the host), ``deadline_s`` all that follows: when it passes, the
    socket is shut, also if the server is frozen or the network gone. Raises CannotRead for whatever the database or the
    network does.
    """
    arguments = url.connect_arguments() | {
        "application_name": application_name,
        "connect_timeout": max(1, round(connect_timeout_s)),
    }
    try:
        connection = psycopg.connect(autocommit=True, prepare_threshold=None, **arguments)
    except psycopg.Error as error:
        raise _no_connection(url, error) from None
    expired = threading.Event()
    with contextlib.closing(connection), shut_after(connection.fileno(), deadline_s, expired):
        try:
            yield connection
        except psycopg.Error as error:
            raise _broken(url, error, expired=expired.is_set()) from None


@contextlib.contextmanager
def snapshot(connection: psycopg.Connection[TupleRow], *, statement_timeout_ms: int) -> Iterator[tuple[str, ...]]:
    """One read-only REPEATABLE READ transaction in which names mean PostgreSQL's own objects and text has one form.

    Yields the existing schemas of the search path that the connection would have had. The settings end with the transaction, so
    that a pooler passes none of them on.
    """
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    settings = {
        **PINNED,
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
    }
    with connection.transaction():
        row = connection.execute("SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]").fetchone()
        connection.execute(
            "SELECT pg_catalog.set_config(s.name, s.value, true) FROM ROWS FROM"
            " (pg_catalog.unnest(%s::pg_catalog.text[]), pg_catalog.unnest(%s::pg_catalog.text[])) AS s(name, value)",
            [list(settings), list(settings.values())],
        )
        yield tuple(row[0]) if row else ()


@contextlib.contextmanager
def shut_after(descriptor: int, seconds: float, expired: threading.Event) -> Iterator[None]:
    """Shut the socket ``descriptor`` down after ``seconds`` and set ``expired``, unless the block was left before."""
    # A server-side timeout does not help against a frozen server, and libpq has none for an established connection.
    with socket.socket(fileno=os.dup(descriptor)) as wire:

        def shut() -> None:
            expired.set()
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _no_connection(url: TargetUrl, error: psycopg.Error) -> CannotRead:
    # Names come from the URL and could say anything; only the server's own words are matched.
    text = str(error)
    for name in (url.user, url.database):
        text = text.replace(f' "{name}"', "")
    words = re.sub(r""" ?(["'])(?:(?!\1).)*\1""", "", text).lower()
    kind = next((kind for kind in _KINDS if re.search(kind.pattern, words)), _OTHER)
    return CannotRead(f"{url.display()} could not be read: {kind.sentence}. {_reason(url, error)}", code=kind.code)


def _broken(url: TargetUrl, error: psycopg.Error, *, expired: bool) -> CannotRead:
    lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    state = error.sqlstate or ("08" if lost else "")
    code, sentence = next(
        (_STATES[key] for key in (state, state[:3], state[:2]) if key in _STATES),
        ("other", "the server answered with an error"),
    )
    if expired:
        code, sentence = (
            "timeout",
            "the whole reading took longer than its limit. Check the server's load and the route to it",
        )
    return CannotRead(f"{url.display()} could not be read: {sentence}. {_reason(url, error)}", code=code)


def _reason(url: TargetUrl, error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error).partition("failed: ")[2] or str(error)
    reason = " ".join(Redactor([url.password]).text(text).split())
    return f"The reason given: {reason[:MAX_REASON].rstrip('.')}."
