"""A target's database URL: taken apart strictly, put together again from its fields.

What libpq, SQLAlchemy and asyncpg understand beyond these fields (sockets, several hosts, services, options) is refused,
because it would decide outside the portal which server is reached and how.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote

from migrations_audit.engine.types import Endpoint
from migrations_audit.errors import Invalid

DEFAULT_PORT: Final = 5432
MAX_URL: Final = 4096
MAX_NAME_BYTES: Final = 63
MAX_PASSWORD: Final = 1024

LIBPQ_DRIVERS: Final = frozenset({"", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi"})
DRIVERS: Final = LIBPQ_DRIVERS | {"asyncpg", "pg8000"}

_OTHERS: Final = {
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
    "oracle": "Oracle",
    "mssql": "Microsoft SQL Server",
    "cockroachdb": "CockroachDB",
    "redshift": "Amazon Redshift",
}
_SCHEME: Final = re.compile(r"([a-z][a-z0-9]{0,30})(?:\+([a-z0-9_]{0,30}))?", re.IGNORECASE)
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)
_IPV6: Final = re.compile(r"[0-9a-f]*:[0-9a-f:.]+", re.IGNORECASE)
_PERCENT: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class InvalidUrl(Invalid):
    """The database URL is not one that the portal accepts. The message names the part and never holds the password."""

    code = "invalid_url"


@dataclass(frozen=True)
class TargetUrl:
    """One PostgreSQL database and how to reach it. ``driver`` is SQLAlchemy's, empty when the URL named none."""

    driver: str
    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(host=self.host, port=self.port, database=self.database, user=self.user)

    def display(self) -> str:
        """Return the endpoint as text for people: no password, no parameters."""
        return str(self.endpoint)

    def connect_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for ``psycopg.connect``. They pin what libpq would else take from PG* variables and files."""
        return {
            "hostaddr": "",
            "passfile": "/dev/null/none",
            "options": "",
            "target_session_attrs": "any",
            "gssencmode": "disable",
            "sslmode": "prefer",
            "client_encoding": "UTF8",
            **dict(self.parameters),
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
        }

    def render(self, driver: str) -> str:
        """Return the URL with its password for SQLAlchemy's ``driver``: ``psycopg2``, ``asyncpg``, …; empty for its default.

        Raises InvalidUrl for an unknown driver, or one that cannot be told the URL's TLS parameters in a URL.
        """
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        return self._rendered(driver, f"{quote(self.user, safe='')}{secret}")

    def without_password(self, driver: str) -> str:
        """Return what ``render`` does, without any password. Raises InvalidUrl likewise."""
        return self._rendered(driver, quote(self.user, safe=""))

    def _rendered(self, driver: str, userinfo: str) -> str:
        name = driver.removeprefix("postgresql").removeprefix("+")
        if name not in DRIVERS:
            raise InvalidUrl(f"The driver {driver!r} is not one of {', '.join(sorted(DRIVERS - {''}))}.")
        scheme = f"postgresql+{name}" if name else "postgresql"
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in self._parameters_for(name))
        return f"{scheme}://{userinfo}@{host}:{self.port}/{self.database}" + (f"?{query}" if query else "")

    def _parameters_for(self, driver: str) -> list[tuple[str, str]]:
        if driver in LIBPQ_DRIVERS:
            return list(self.parameters)
        # Only libpq takes connect_timeout as text; leaving it out weakens nothing.
        needed = [pair for pair in self.parameters if pair[0] != "connect_timeout"]
        names = {"sslmode": "ssl"} if driver == "asyncpg" else {}
        for key, _ in needed:
            if key not in names:
                raise InvalidUrl(f"{driver} cannot be told {key} in a URL. Remove the parameter or use psycopg.")
        return [(names[key], value) for key, value in needed]


def parse(text: str) -> TargetUrl:
    """Take a database URL apart. Raises InvalidUrl naming the part that is wrong."""
    if len(text) > MAX_URL:
        raise InvalidUrl(f"The database URL is longer than {MAX_URL} characters.")
    if _UNSAFE.search(text):
        raise InvalidUrl(
            "The database URL holds white space, a control character or broken text. Write it as %20, %0A, …"
        )
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise InvalidUrl("A database URL looks like postgresql://user:password@host:5432/database.")
    driver = _driver(scheme)
    if "#" in rest:
        raise InvalidUrl("The database URL holds #. Inside a name or password write it as %23.")
    address, _, query = rest.partition("?")
    authority, _, path = address.partition("/")
    userinfo, at, place = authority.rpartition("@")
    if not at or "@" in userinfo:
        raise InvalidUrl(
            "The database URL needs one user:password@ before its host. In a password write @ as %40, / as %2F, ? as %3F."
        )
    user, _, password = userinfo.partition(":")
    host, port = _host_and_port(place)
    return TargetUrl(
        driver=driver,
        host=host,
        port=port,
        database=_name("database", path),
        user=_name("user", user),
        password=_password(password),
        parameters=_parameters(query, driver),
    )


def _driver(scheme: str) -> str:
    found = _SCHEME.fullmatch(scheme.removeprefix("jdbc:"))
    if found is None or scheme.startswith("jdbc:"):
        raise InvalidUrl(
            "The URL's scheme must be postgresql://, or postgresql+psycopg:// and the like; jdbc: is not one."
        )
    engine, driver = found[1].lower(), (found[2] or "").lower()
    if engine not in ("postgresql", "postgres"):
        other = _OTHERS.get(engine, "something else")
        raise InvalidUrl(f"The portal works with PostgreSQL; this URL is for {other}.")
    if driver not in DRIVERS:
        raise InvalidUrl(f"The URL names a driver that is not one of {', '.join(sorted(DRIVERS - {''}))}.")
    return driver


def _host_and_port(place: str) -> tuple[str, int]:
    if "," in place:
        raise InvalidUrl("The URL names several hosts. A target is one server: name the primary.")
    if place.lower().startswith(("%2f", "%40")):
        raise InvalidUrl("The URL's host is a unix socket. Name a host that the worker reaches over TCP.")
    if place.startswith("["):
        host, bracket, after = place[1:].partition("]")
        if not bracket or not _IPV6.fullmatch(host) or (after and not after.startswith(":")):
            raise InvalidUrl("The URL's host is not an IPv6 address in brackets, like [2001:db8::1]:5432.")
        return host.lower(), _port(after[1:], given=bool(after))
    host, colon, port = place.partition(":")
    if not host:
        raise InvalidUrl("The URL names no host. A unix socket or a default host is not accepted: name the server.")
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise InvalidUrl("The URL's host is not a host name or address; a non-ASCII name is written in its xn-- form.")
    return host.lower(), _port(port, given=bool(colon))


def _port(text: str, *, given: bool) -> int:
    if not given:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise InvalidUrl(
            "The URL's port is not a number from 1 to 65535. In a password write : / ? @ as %3A %2F %3F %40."
        )
    return int(text)


def _name(part: str, text: str) -> str:
    name = _decoded(part, text)
    if not name:
        raise InvalidUrl(f"The URL names no {part}. It is never guessed: name it.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidUrl(f"The URL's {part} is longer than {MAX_NAME_BYTES} bytes, which no PostgreSQL name is.")
    if part == "database" and re.search("[?%#@]", name):
        # SQLAlchemy before 2.1 does not decode this part, and would take an @ in it for the end of a password.
        raise InvalidUrl(
            "The database's name holds ?, %, # or @, which SQLAlchemy does not read reliably. Use another name."
        )
    return name


def _password(text: str) -> str:
    password = _decoded("password", text)
    if len(password) > MAX_PASSWORD:
        raise InvalidUrl(f"The URL's password is longer than {MAX_PASSWORD} characters.")
    return password


def _decoded(part: str, text: str) -> str:
    if _PERCENT.search(text):
        raise InvalidUrl(f"The URL's {part} holds a % that two hexadecimal digits do not follow. Write % as %25.")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidUrl(f"The URL's {part} is not percent-encoded UTF-8.") from None
    if _CONTROL.search(decoded):
        raise InvalidUrl(f"The URL's {part} holds a control character.")
    return decoded


def _one_of(*words: str) -> Callable[[str], bool]:
    return lambda value: value in words


def _is_file(value: str) -> bool:
    return value.startswith("/")


_ACCEPTED: Final[Mapping[str, Callable[[str], bool]]] = {
    "sslmode": _one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": lambda value: value == "system" or _is_file(value),
    "sslcert": _is_file,
    "sslkey": _is_file,
    "channel_binding": _one_of("disable", "prefer", "require"),
    "connect_timeout": lambda value: re.fullmatch(r"[1-9][0-9]{0,2}", value) is not None,
}
_ADVICE: Final[Mapping[str, str]] = {
    "host": "Name the host before the path",
    "hostaddr": "Name the host before the path",
    "service": "A service file would decide where it leads; write the address itself",
    "passfile": "Write the password into the URL behind the reference",
    "password": "Write it as user:password@ before the host",
    "options": "Timeouts and settings come from the environment's policy",
    "application_name": "The portal sets it, to find its own connections",
    "target_session_attrs": "Name the primary",
}


def _parameters(query: str, driver: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if driver == "asyncpg" and key == "ssl":
            key = "sslmode"
        if key not in _ACCEPTED:
            raise InvalidUrl(_refusal(key))
        if key in found:
            raise InvalidUrl(f"The URL gives {key} twice.")
        found[key] = _decoded(f"parameter {key}", value)
        if not _ACCEPTED[key](found[key]):
            raise InvalidUrl(f"The URL's parameter {key} has a value that is not accepted.")
    return tuple(sorted(found.items()))


def _refusal(key: str) -> str:
    # An unknown key is not repeated: a password with a raw ? or & in it would end up here.
    if key in _ADVICE:
        return f"The URL's parameter {key} is not accepted. {_ADVICE[key]}."
    return f"The URL has a parameter that is not accepted. Accepted are {', '.join(sorted(_ACCEPTED))}."
