"""What was not approved does not run: another database, another start, another plan, a target that somebody else works on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import pytest

from migrations_audit.engine import urls
from opsportal.local import postgres
from tests.conftest import MakeTargetDatabase
from tests.engine import proxy, runnable, running
from tests.engine.running import Outcome, Target

THREE = runnable.chain("alpha", "beta", "gamma")


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


@pytest.fixture
def other(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("other"))


def run_against(target: Target, tmp_path: Path, env: str) -> Outcome:
    return running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, THREE[:1], env=env))


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_project_that_connects_to_another_database_is_refused(
    tmp_path: Path, target: Target, other: Target, driver: str
) -> None:
    outcome = run_against(target, tmp_path, runnable.env_with(repr(other.sqlalchemy_url(driver))))

    assert outcome.refusal == "wrong_target"
    assert outcome.exit.exit_code == 3
    assert other.connection().database in outcome.one("refused")["message"]
    assert other.tables() == target.tables() == set()


def test_an_async_project_that_connects_to_another_database_is_refused(
    tmp_path: Path, target: Target, other: Target
) -> None:
    elsewhere = repr(other.sqlalchemy_url("asyncpg"))
    setup = f'from alembic import context\ncontext.config.set_main_option("sqlalchemy.url", {elsewhere})\n'

    outcome = run_against(target, tmp_path, setup + dedent(runnable.ASYNC_ENV))

    assert outcome.refusal == "wrong_target"
    assert other.tables() == target.tables() == set()


@pytest.mark.parametrize(
    "arguments",
    [
        {"host": "localhost"},
        {"port": 1},
        {"user": "somebody"},
        {"hostaddr": "127.0.0.1"},
        {"service": "elsewhere"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_a_project_that_changes_one_connection_argument_is_refused(
    tmp_path: Path, target: Target, arguments: dict[str, object]
) -> None:
    outcome = run_against(target, tmp_path, runnable.env_with(f"{runnable.INI_URL}, connect_args={arguments!r}"))

    assert outcome.refusal == "wrong_target"
    assert target.tables() == set()


def test_a_project_that_falls_back_to_sqlite_is_refused_before_its_file_exists(tmp_path: Path, target: Target) -> None:
    outcome = run_against(target, tmp_path, runnable.env_with('"sqlite:///fallback.db"'))

    assert outcome.refusal == "wrong_target"
    assert not (tmp_path / "fallback.db").exists()
    assert target.tables() == set()


def test_a_refusal_is_not_caught_by_the_project(tmp_path: Path, target: Target) -> None:
    env = f"try:\n{indent(runnable.env_with(repr('sqlite://')), '    ')}\nexcept BaseException:\n    print('went on')\n"

    outcome = run_against(target, tmp_path, env)

    assert outcome.refusal == "wrong_target"
    assert outcome.printed["stdout"] == ""


def test_an_own_connection_to_another_database_is_refused_by_its_identity(
    tmp_path: Path, target: Target, other: Target
) -> None:
    env = runnable.env_with(
        '"postgresql+psycopg://", creator=lambda: psycopg.connect(elsewhere)',
        setup=f"import psycopg; elsewhere = {other.url!r}",
    )

    outcome = run_against(target, tmp_path, env)

    assert outcome.refusal == "wrong_identity"
    assert outcome.one("refused")["found"]["database"] == other.connection().database
    assert other.tables() == set()


def test_an_own_connection_that_is_not_postgresql_is_refused(tmp_path: Path, target: Target) -> None:
    env = runnable.env_with(
        '"postgresql+psycopg2://", creator=lambda: sqlite3.connect(":memory:")', setup="import sqlite3"
    )

    outcome = run_against(target, tmp_path, env)

    assert outcome.refusal == "not_checked"


def test_a_server_with_another_identity_is_refused(tmp_path: Path, target: Target) -> None:
    request = running.upgrade_request(
        target, "r1", expected=replace(target.expected(), system_identifier="7000000000000000000")
    )

    outcome = running.run(request, runnable.write(tmp_path, THREE[:1]))

    assert outcome.refusal == "wrong_identity"
    assert outcome.names("connected", "lock_taken", "step_started") == []
    assert target.tables() == set()


def test_a_start_other_than_planned_is_refused(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE)
    running.run(running.upgrade_request(target, "r1"), folder)

    outcome = running.run(running.upgrade_request(target, "r1", "r2"), folder)

    assert outcome.refusal == "start_changed"
    assert outcome.one("refused")["found"] == ["r1"]
    assert target.tables() == {"alembic_version", "alpha"}


def test_a_version_table_that_the_search_path_hides_is_refused_instead_of_replayed(
    tmp_path: Path, target: Target
) -> None:
    target.execute(
        "CREATE SCHEMA app; CREATE TABLE app.alembic_version (version_num text); INSERT INTO app.alembic_version VALUES ('r1')"
    )
    folder = runnable.write(tmp_path, THREE)
    request = running.upgrade_request(target, "r2", start=("r1",), version_table_schema="app")

    outcome = running.run(request, folder)

    assert outcome.refusal == "start_changed"
    assert outcome.names("step_started") == []
    assert target.tables() == {"alembic_version"}


def test_another_version_table_than_the_one_read_is_refused(tmp_path: Path, target: Target) -> None:
    outcome = run_against(target, tmp_path, runnable.env_with(runnable.INI_URL, configure='version_table="elsewhere"'))

    assert outcome.refusal == "plan_differs"
    assert target.tables() == set()


@pytest.mark.parametrize("planned", [("r1", "r2"), ("r1", "rx", "r3"), ("r1", "r3", "r2", "r3")], ids="-".join)
def test_steps_other_than_planned_are_refused_before_the_first(
    tmp_path: Path, target: Target, planned: tuple[str, ...]
) -> None:
    folder = runnable.write(
        tmp_path, THREE, env=runnable.env_with(runnable.INI_URL, configure="transaction_per_migration=True")
    )

    outcome = running.run(running.upgrade_request(target, *planned, destination=("r3",)), folder)

    assert outcome.refusal == "plan_differs"
    assert outcome.one("refused")["steps"] == [["r1", "upgrade"], ["r2", "upgrade"], ["r3", "upgrade"]]
    assert target.tables() == set()


@pytest.mark.parametrize(
    ("driver", "env"),
    [("psycopg", runnable.ONLINE_ENV), ("psycopg2", runnable.ONLINE_ENV), ("asyncpg", runnable.ASYNC_ENV)],
)
def test_a_pooler_before_the_server_is_refused(tmp_path: Path, target: Target, driver: str, env: str) -> None:
    given = target.connection()
    with proxy.before(urls.parse(target.url), when=b"user", do=proxy.Proxy.pretend_to_pool) as url:
        request = running.upgrade_request(
            target, "r1", connection=replace(given, port=url.port), url=url.render(driver)
        )

        outcome = running.run(request, runnable.write(tmp_path, runnable.chain("alpha"), env=env))

    assert outcome.refusal == "pooler"
    assert target.tables() == set()


def test_a_standby_is_refused(tmp_path: Path, other_cluster: postgres.Postgres) -> None:
    ((data,),) = Target(other_cluster.url()).rows("SELECT current_setting('data_directory')")
    other_cluster.stop()
    (Path(data) / "standby.signal").touch()
    other_cluster.start()

    outcome = running.run(
        running.upgrade_request(Target(other_cluster.url()), "r1"),
        runnable.write(tmp_path / "project", runnable.chain("alpha")),
    )

    assert outcome.refusal == "standby"
