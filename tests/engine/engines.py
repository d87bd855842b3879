"""Target databases on MariaDB and SQLite for one test, with what tests of the runner ask of ``running.Target``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from typing import Any

import pymysql

from migrations_audit.engine import dialects, protocol
from migrations_audit.engine.mariadb import url as mariadb_url
from migrations_audit.engine.mariadb.url import MariadbUrl
from migrations_audit.engine.sqlite import url as sqlite_url
from migrations_audit.engine.sqlite.url import SqliteUrl
from migrations_audit.engine.types import Reading
from tests.engine import running


@dataclass(frozen=True)
class MariadbTarget(running.Target):
    """``url`` is that of its owner, who has rights in this database only."""

    @property
    def parsed(self) -> MariadbUrl:
        return mariadb_url.parse(self.url)

    def connect(self) -> pymysql.Connection[Any]:
        return pymysql.connect(**self.parsed.connect_arguments())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def execute(self, statement: str) -> None:
        self.rows(statement)

    def tables(self) -> set[str]:
        return {row[0] for row in self.rows("SHOW TABLES")}

    def sqlalchemy_url(self, driver: str) -> str:
        return self.parsed.render(f"mysql+{driver}")

    def connection(self) -> protocol.Connection:
        url = self.parsed
        return protocol.Connection(url.host, url.port, url.database, url.user, url.password, engine="mariadb")

    def expected(self) -> protocol.Expected:
        ((uid,),) = self.rows("SELECT @@global.server_uid")
        return protocol.Expected(uid, 0, self.parsed.database)

    def read(self) -> Reading:
        return dialects.read(self.parsed, application_name="opsportal:test")


@dataclass(frozen=True)
class SqliteTarget(running.Target):
    """``url`` is the path of the file."""

    @property
    def parsed(self) -> SqliteUrl:
        return sqlite_url.parse(f"sqlite:///{self.url}")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.url, isolation_level=None)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = self.connect()
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def execute(self, statement: str) -> None:
        self.rows(statement)

    def tables(self) -> set[str]:
        return {row[0] for row in self.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}

    def sqlalchemy_url(self, driver: str) -> str:
        return self.parsed.render("sqlite")

    def connection(self) -> protocol.Connection:
        return protocol.Connection("", 0, self.url, "", "", engine="sqlite")

    def expected(self) -> protocol.Expected:
        identity = self.read().identity
        return protocol.Expected(identity.system_identifier, 0, self.url)

    def read(self) -> Reading:
        return dialects.read(self.parsed, application_name="opsportal:test")


def request(target: MariadbTarget | SqliteTarget, *revisions: str, **changes: Any) -> protocol.RunnerRequest:
    """A request for an upgrade from base through ``revisions``."""
    made = running.upgrade_request(target, *revisions, driver="pymysql", lock_name=dialects.lock_name(target.parsed))
    return replace(made, **changes)
