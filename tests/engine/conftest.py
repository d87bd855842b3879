"""Fixtures for tests that read a target."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from migrations_audit.engine import urls
from migrations_audit.engine.urls import TargetUrl
from opsportal.local import postgres
from tests import servers
from tests.conftest import MakeTargetDatabase
from tests.engine import clusters
from tests.engine.database import Database, create_role

MakeRole = Callable[[], TargetUrl]


@pytest.fixture
def make_role(target_server: servers.TargetServer) -> Iterator[MakeRole]:
    """A factory of roles that may log in and nothing else. Ask for it before the databases in which they get rights."""
    made: list[str] = []
    server = urls.parse(target_server.url("postgres"))

    def make() -> TargetUrl:
        role = replace(server, user=f"role_{secrets.token_hex(6)}", password=secrets.token_hex(12))
        with target_server.connect() as connection:
            create_role(connection, role.user, role.password)
        made.append(role.user)
        return role

    yield make
    with target_server.connect() as connection:
        for name in made:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def database(make_role: MakeRole, make_target_database: MakeTargetDatabase) -> Database:
    """An empty target database; ``make_role`` comes first so that its roles lose their rights before they go."""
    return Database(urls.parse(make_target_database("reading")))


@pytest.fixture
def other_cluster(tmp_path: Path) -> Iterator[postgres.Postgres]:
    """A second, private cluster in which transactions can be prepared."""
    server = postgres.Postgres(tmp_path / "other", settings={"fsync": "off", "max_prepared_transactions": "4"})
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def related_clusters(tmp_path: Path) -> Iterator[clusters.Clusters]:
    """A maker of primaries, clones and standbys."""
    made = clusters.Clusters(tmp_path)
    try:
        yield made
    finally:
        made.destroy()
