"""Fixtures for every test. The servers behind them are started by tests/servers.py."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from psycopg import sql

from tests import mariadb, servers
from tests.engine import clusters, confined

MakeTargetDatabase = Callable[..., str]
MakeMariadbDatabase = Callable[..., str]

NO_CHROMIUM = (
    "The browser tests did not run: no Chromium was found. "
    "Install chromium (Debian, Ubuntu: apt-get install chromium) or set PORTAL_CHROMIUM to one."
)
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# How long an example takes is the machine's business; no test asserts it.
hypothesis.settings.register_profile("portal", deadline=None)
hypothesis.settings.load_profile("portal")


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser's program. PORTAL_REQUIRE_BROWSER=1 makes its absence a failure."""
    asked = os.environ.get("PORTAL_CHROMIUM")
    if asked and shutil.which(asked) is None:
        pytest.fail(f"PORTAL_CHROMIUM={asked} is no program. Correct it or unset it.")
    found = asked or next((path for name in _CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None and os.environ.get("PORTAL_REQUIRE_BROWSER") == "1":
        pytest.fail(NO_CHROMIUM)
    if found is None:
        pytest.skip(NO_CHROMIUM)
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line each, however quiet the session is, which tests were left out for want of a program."""
    for why in (NO_CHROMIUM, mariadb.NOT_INSTALLED, clusters.NO_PGBOUNCER, confined.NOT_OFFERED):
        left_out = [each for each in terminalreporter.stats.get("skipped", []) if why in str(each.longrepr)]
        if left_out:
            terminalreporter.write_line(f"{why} ({len(left_out)} tests)", yellow=True, bold=True)


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mariadb.Mariadb]:
    """A MariaDB that plays the world of the targets. PORTAL_REQUIRE_SERVERS=1 makes the program's absence a failure."""
    if mariadb.program() is None and os.environ.get("PORTAL_REQUIRE_SERVERS") == "1":
        pytest.fail(mariadb.NOT_INSTALLED)
    if mariadb.program() is None:
        pytest.skip(mariadb.NOT_INSTALLED)
    server = mariadb.Mariadb(tmp_path_factory.mktemp("mariadb"))
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def make_mariadb_database(mariadb_server: mariadb.Mariadb) -> MakeMariadbDatabase:
    """A factory of fresh databases with a user of their own on the private MariaDB, which goes with the session."""
    return lambda hint="t": mariadb.fresh_database(mariadb_server, hint)


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
