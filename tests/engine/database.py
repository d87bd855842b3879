"""A target database for one test, and the people who use it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from migrations_audit.engine import target
from migrations_audit.engine.types import Reading
from migrations_audit.engine.urls import TargetUrl

VERSION_TABLE = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"


@dataclass(frozen=True)
class Database:
    """``url`` is its owner's."""

    url: TargetUrl

    def connect(self, **arguments: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Open an autocommit connection of the owner."""
        return psycopg.connect(**self.url.connect_arguments() | arguments, autocommit=True)

    def run(self, *statements: str) -> None:
        """Execute the statements, each in its own transaction."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def read(self, url: TargetUrl | None = None, /, **settings: Any) -> Reading:
        """Read it as the portal does, as the owner or with another URL."""
        return target.read(url or self.url, application_name="opsportal:test", **settings)

    def as_role(self, role: TargetUrl) -> TargetUrl:
        """The same database for another role."""
        return replace(self.url, user=role.user, password=role.password)


def create_role(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    """Create a role that may log in and nothing else."""
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
