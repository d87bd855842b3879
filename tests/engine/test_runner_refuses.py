"""What was not approved does not run: another database, another start, another plan, a target that somebody else works on."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import psycopg
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


def test_a_held_lock_is_waited_for_showing_its_holder_and_refused_after_the_budget(
    tmp_path: Path, target: Target
) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    with psycopg.connect(target.url, autocommit=True, application_name="the night batch") as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", running.LOCK_KEY)

        outcome = running.run(running.upgrade_request(target, "r1", lock_budget_s=2), folder)

        pid = holder.info.backend_pid

    assert outcome.refusal == "lock_busy"
    assert outcome.one("refused")["holder"]["pid"] == pid
    assert "the night batch" in outcome.one("refused")["message"]
    waiting = outcome.all("lock_waiting")
    assert {event["holder"]["application_name"] for event in waiting} == {"the night batch"}
    assert 1 <= len(waiting) <= 3
    assert target.tables() == set()


def test_the_run_goes_on_when_the_lock_becomes_free(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    with psycopg.connect(target.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", running.LOCK_KEY)

        outcome = running.run(
            running.upgrade_request(target, "r1", lock_budget_s=60),
            folder,
            on_event=[lambda event: holder.close() if event["event"] == "lock_waiting" else None],
        )

    assert outcome.exit.exit_code == 0
    assert outcome.names("lock_waiting", "lock_taken")[-2:] == ["lock_waiting", "lock_taken"]


def test_two_runs_at_once_do_not_overlap(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(
        tmp_path, [runnable.Script("r1", 'op.execute("SELECT pg_sleep(1)"); op.execute("CREATE TABLE alpha (id int)")')]
    )
    outcomes: list[Outcome] = []
    gate = threading.Barrier(2)

    def go() -> None:
        gate.wait()
        outcomes.append(running.run(running.upgrade_request(target, "r1", lock_budget_s=60), folder))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcome.exit.exit_code for outcome in outcomes) == [0, 3]
    late = max(outcomes, key=lambda outcome: outcome.exit.exit_code)
    assert late.names("lock_waiting", "lock_taken", "refused")[-2:] == ["lock_taken", "refused"]
    assert late.refusal == "start_changed"


LOCKS_HERE = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    f" AND objid = {running.LOCK_KEY[1] & 0xFFFFFFFF}"
)


def test_the_lock_moves_to_the_migrating_session_when_an_earlier_one_was_closed(tmp_path: Path, target: Target) -> None:
    early = f"""
        with create_engine({runnable.INI_URL}, poolclass=pool.NullPool).connect() as early:
            early.execute(text("SELECT 1"))
    """
    up = f'print("locks here:", op.get_bind().exec_driver_sql("{LOCKS_HERE}").scalar())'
    env = runnable.env_with(runnable.INI_URL, setup=early)

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)
    )

    assert len(outcome.all("connected")) == len(outcome.all("lock_taken")) == 2
    assert outcome.printed["stdout"] == "locks here: 1\n"


@pytest.mark.parametrize("begun", [False, True], ids=["idle", "in a transaction"])
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_lock_moves_to_the_migrating_session_when_an_earlier_one_stays_open(
    tmp_path: Path, target: Target, driver: str, begun: bool
) -> None:
    begin = 'early.execute(text("SELECT 1"))' if begun else ""
    after = f"""
        print("idle there:", early.connection.dbapi_connection.info.transaction_status == 0)
        print("locks there:", early.exec_driver_sql("{LOCKS_HERE}").scalar())
    """
    up = f'print("locks here:", op.get_bind().exec_driver_sql("{LOCKS_HERE}").scalar())'
    setup = f"early = create_engine({runnable.INI_URL}).connect()\n{begin}"
    folder = runnable.write(
        tmp_path,
        [runnable.Script("r1", up)],
        env=runnable.env_with(runnable.INI_URL, setup=setup) + dedent(after),
    )

    outcome = running.run(running.upgrade_request(target, "r1", driver=driver), folder)

    assert outcome.exit.exit_code == 0
    assert outcome.printed["stdout"] == f"locks here: 1\nidle there: {not begun}\nlocks there: 0\n"


def test_the_lock_moves_between_the_sessions_of_an_async_project(tmp_path: Path, target: Target) -> None:
    env = dedent(runnable.ASYNC_ENV).replace(
        "    async with engine.connect() as connection:",
        "    async with engine.connect(), engine.connect() as connection:",
    )
    up = f'print("locks here:", op.get_bind().exec_driver_sql("{LOCKS_HERE}").scalar())'
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)

    outcome = running.run(running.upgrade_request(target, "r1", driver="asyncpg"), folder)

    assert outcome.exit.exit_code == 0
    assert len(outcome.all("connected")) == 2
    assert outcome.printed["stdout"] == "locks here: 1\n"


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
