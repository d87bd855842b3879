"""The URL of a database on MariaDB or MySQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import quote

from migrations_audit.engine import url_parts
from migrations_audit.engine.url_parts import InvalidUrl
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.states import Engine

SCHEMES: Final = frozenset({"mysql", "mariadb"})
DRIVERS: Final = ("mysql+pymysql", "mariadb+pymysql")
DEFAULT_PORT: Final = 3306
MAX_NAME_BYTES: Final = 64
EXAMPLE: Final = "mysql+pymysql://user:password@host:3306/database"

_TLS: Final = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_check_hostname")


@dataclass(frozen=True)
class MariadbUrl(TargetUrl):
    """One MariaDB or MySQL database and how to reach it."""

    engine: ClassVar[Engine] = Engine.MARIADB

    def connect_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for ``pymysql.connect``; no option file is read.

        Without TLS parameters the connection is encrypted where the server can, and the server's certificate is not looked at.
        """
        given = dict(self.parameters)
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "charset": "utf8mb4",
            "autocommit": True,
            "local_infile": False,
        }
        tls: dict[str, Any] = {name.removeprefix("ssl_"): given[name] for name in _TLS[:3] if name in given}
        if tls or "ssl_check_hostname" in given:
            tls["check_hostname"] = given.get("ssl_check_hostname", "true") == "true"
            arguments["ssl"] = tls
        return arguments

    def _rendered(self, driver: str, userinfo: str) -> str:
        if driver not in DRIVERS:
            raise InvalidUrl(
                f"The project's driver {driver!r} is not one for MariaDB or MySQL. Choose {' or '.join(DRIVERS)} in the project."
            )
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = "&".join(f"{key}={quote(value, safe='')}" for key, value in self.parameters)
        return f"{driver}://{userinfo}@{host}:{self.port}/{self.database}" + (f"?{query}" if query else "")


def parse(text: str) -> MariadbUrl:
    """Take the URL of a MariaDB or MySQL database apart. Raises InvalidUrl naming the part that is wrong."""
    scheme, rest = url_parts.scheme_and_rest(text, example=EXAMPLE)
    driver = scheme.partition("+")[2].lower()
    if driver not in ("", "pymysql"):
        raise InvalidUrl("The URL names a driver of MariaDB or MySQL other than pymysql. Write mysql+pymysql://.")
    parts = url_parts.of_server(rest)
    host, port = url_parts.host_and_port(parts.place, default_port=DEFAULT_PORT)
    return MariadbUrl(
        driver=driver,
        host=host,
        port=port,
        database=url_parts.name("database", parts.path, longest=MAX_NAME_BYTES, engine="MariaDB"),
        user=url_parts.name("user", parts.user, longest=MAX_NAME_BYTES, engine="MariaDB"),
        password=url_parts.password(parts.password),
        parameters=_parameters(parts.query),
    )


def _is_file(value: str) -> bool:
    return value.startswith("/")


_ACCEPTED: Final[Mapping[str, Callable[[str], bool]]] = {
    "charset": lambda value: value in ("utf8mb4", "utf8"),
    "connect_timeout": lambda value: re.fullmatch(r"[1-9][0-9]{0,2}", value) is not None,
    "ssl_ca": _is_file,
    "ssl_cert": _is_file,
    "ssl_key": _is_file,
    "ssl_check_hostname": lambda value: value in ("true", "false"),
}


def _parameters(query: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in _ACCEPTED:
            # An unknown key is not repeated: a password with a raw ? or & in it would end up here.
            raise InvalidUrl(
                f"The URL has a parameter that is not accepted. Accepted are {', '.join(sorted(_ACCEPTED))}."
            )
        if key in found:
            raise InvalidUrl(f"The URL gives {key} twice.")
        found[key] = url_parts.decoded(f"parameter {key}", value)
        if not _ACCEPTED[key](found[key]):
            raise InvalidUrl(f"The URL's parameter {key} has a value that is not accepted.")
    return tuple(sorted(found.items()))
