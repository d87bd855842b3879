"""Fixtures for every test. The servers behind them are started by tests/servers.py."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from tests import servers

MakeTargetDatabase = Callable[..., str]


@pytest.fixture(scope="session")
def target_server() -> servers.TargetServer:
    """The cluster that plays the world of the targets."""
    return servers.TargetServer(os.environ[servers.TARGET])


@pytest.fixture
def make_target_database(target_server: servers.TargetServer) -> Iterator[MakeTargetDatabase]:
    """A factory of fresh databases on the target cluster, dropped after the test whoever is still connected."""
    made: list[str] = []

    def make(name_hint: str = "t", template: str | None = None) -> str:
        name = f"{name_hint}_{secrets.token_hex(6)}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with target_server.connect() as connection:
            connection.execute(statement)
        made.append(name)
        return target_server.url(name)

    yield make
    with target_server.connect() as connection:
        for name in made:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
