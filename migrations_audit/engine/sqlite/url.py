"""The URL of a SQLite file."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import quote

from migrations_audit.engine import url_parts
from migrations_audit.engine.url_parts import InvalidUrl
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.states import Engine

DRIVERS: Final = ("sqlite", "sqlite+pysqlite")
EXAMPLE: Final = "sqlite:////absolute/path/to/file.db"


@dataclass(frozen=True)
class SqliteUrl(TargetUrl):
    """One SQLite file; ``database`` is its absolute path. The other fields are empty."""

    engine: ClassVar[Engine] = Engine.SQLITE

    def _rendered(self, driver: str, userinfo: str) -> str:
        if driver not in DRIVERS:
            raise InvalidUrl(f"The project's driver {driver!r} is not one for SQLite. Choose sqlite in the project.")
        return f"{driver}:///{quote(self.database, safe='/')}"


def parse(text: str) -> SqliteUrl:
    """Take the URL of a SQLite file apart. Raises InvalidUrl; whether the file may be used says ``check_place``."""
    scheme, rest = url_parts.scheme_and_rest(text, example=EXAMPLE)
    driver = scheme.partition("+")[2].lower()
    if driver not in ("", "pysqlite"):
        raise InvalidUrl(f"The URL names a driver of SQLite other than pysqlite. Write {EXAMPLE}.")
    if "?" in rest or "#" in rest:
        raise InvalidUrl("A SQLite URL takes no parameters: only the path of the file.")
    if not rest.startswith("/"):
        raise InvalidUrl(f"A SQLite URL names no host. Write {EXAMPLE}.")
    path = url_parts.decoded("path", rest[1:])
    if not path.startswith("/"):
        raise InvalidUrl(f"The path of the SQLite file is not absolute: four slashes begin it, {EXAMPLE}.")
    if path.startswith("//") or posixpath.normpath(path) != path or "?" in path or "#" in path or "%" in path:
        raise InvalidUrl("The path of the SQLite file holds . or .. or //, or one of the characters ? # %.")
    return SqliteUrl(driver=driver, host="", port=0, database=path, user="", password="")


def check_place(url: SqliteUrl, *, roots: Sequence[str]) -> None:
    """Raise InvalidUrl unless the file lies below one of ``roots`` and is named without any symbolic link."""
    if not roots:
        raise InvalidUrl(
            "PORTAL_SQLITE_ROOTS is empty on this worker, so no SQLite file is used. Set it to the folders of such files."
        )
    if os.path.realpath(url.database) != url.database:
        raise InvalidUrl(f"A symbolic link leads to {url.database} or from it. Name the file itself.")
    if not any(url.database.startswith(os.path.realpath(root).rstrip("/") + "/") for root in roots):
        raise InvalidUrl(f"{url.database} does not lie below one of PORTAL_SQLITE_ROOTS of this worker.")
