"""The private servers of the launcher: they live in a folder, keep what they are given, and leave with their parent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from opsportal.local import account, postgres


@pytest.fixture
def server(tmp_path: Path) -> Iterator[postgres.Postgres]:
    instance = postgres.Postgres(tmp_path / "pg", settings={"fsync": "off"})
    yield instance
    instance.destroy()


def one(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("identity", account.available(), ids=lambda each: each.name)
def test_a_server_starts_under_every_identity_that_this_user_has(tmp_path: Path, identity: account.Account) -> None:
    instance = postgres.Postgres(tmp_path / "pg", account=identity)
    try:
        instance.start()

        assert one(instance.url(), "SELECT current_user") == "portal"
    finally:
        instance.destroy()


def test_a_stopped_server_keeps_its_data_and_its_port(server: postgres.Postgres) -> None:
    server.start()
    server.create_database("kept")
    port = server.port
    server.stop()

    server.start()

    assert one(server.url("kept"), "SELECT current_database()") == "kept"
    assert server.port == port
