"""A target's database URL: taken apart strictly, put together again from its fields.

What libpq, SQLAlchemy and asyncpg understand beyond these fields (sockets, several hosts, services, options) is refused,
because it would decide outside the portal which server is reached and how.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import quote

from migrations_audit.engine import url_parts
from migrations_audit.engine.types import Endpoint
from migrations_audit.engine.url_parts import MAX_URL, InvalidUrl
from migrations_audit.states import Engine

__all__ = ["MAX_URL", "InvalidUrl", "TargetUrl", "parse"]

DEFAULT_PORT: Final = 5432
MAX_NAME_BYTES: Final = 63
EXAMPLE: Final = "postgresql://user:password@host:5432/database"

LIBPQ_DRIVERS: Final = frozenset({"", "psycopg", "psycopg_async", "psycopg2", "psycopg2cffi"})
DRIVERS: Final = LIBPQ_DRIVERS | {"asyncpg", "pg8000"}

_OTHERS: Final = {
    "oracle": "Oracle",
    "mssql": "Microsoft SQL Server",
    "cockroachdb": "CockroachDB",
    "redshift": "Amazon Redshift",
}
_SCHEME: Final = re.compile(r"([a-z][a-z0-9]{0,30})(?:\+([a-z0-9_]{0,30}))?", re.IGNORECASE)


@dataclass(frozen=True)
class TargetUrl:
    """One database and how to reach it; of PostgreSQL, where no subclass says otherwise.

    ``driver`` is SQLAlchemy's, empty when the URL named none.
    """

    engine: ClassVar[Engine] = Engine.POSTGRESQL
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
    """Take the URL of a PostgreSQL database apart. Raises InvalidUrl naming the part that is wrong."""
    scheme, rest = url_parts.scheme_and_rest(text, example=EXAMPLE)
    driver = _driver(scheme)
    parts = url_parts.of_server(rest)
    host, port = url_parts.host_and_port(parts.place, default_port=DEFAULT_PORT)
    return TargetUrl(
        driver=driver,
        host=host,
        port=port,
        database=url_parts.name("database", parts.path, longest=MAX_NAME_BYTES, engine="PostgreSQL"),
        user=url_parts.name("user", parts.user, longest=MAX_NAME_BYTES, engine="PostgreSQL"),
        password=url_parts.password(parts.password),
        parameters=_parameters(parts.query, driver),
    )


def _driver(scheme: str) -> str:
    found = _SCHEME.fullmatch(scheme.removeprefix("jdbc:"))
    if found is None or scheme.startswith("jdbc:"):
        raise InvalidUrl(
            "The URL's scheme must be postgresql:// or postgresql+psycopg:// and the like, mysql+pymysql:// or sqlite:////; "
            "jdbc: is not one."
        )
    engine, driver = found[1].lower(), (found[2] or "").lower()
    if engine not in ("postgresql", "postgres"):
        other = _OTHERS.get(engine, "something else")
        raise InvalidUrl(f"The portal works with PostgreSQL, MariaDB, MySQL and SQLite; this URL is for {other}.")
    if driver not in DRIVERS:
        raise InvalidUrl(f"The URL names a driver that is not one of {', '.join(sorted(DRIVERS - {''}))}.")
    return driver


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
        found[key] = url_parts.decoded(f"parameter {key}", value)
        if not _ACCEPTED[key](found[key]):
            raise InvalidUrl(f"The URL's parameter {key} has a value that is not accepted.")
    return tuple(sorted(found.items()))


def _refusal(key: str) -> str:
    # An unknown key is not repeated: a password with a raw ? or & in it would end up here.
    if key in _ADVICE:
        return f"The URL's parameter {key} is not accepted. {_ADVICE[key]}."
    return f"The URL has a parameter that is not accepted. Accepted are {', '.join(sorted(_ACCEPTED))}."
