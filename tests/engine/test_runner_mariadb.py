"""The runner against a real MariaDB: bound to the approved database, one run at a time, and DDL that stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrations_audit.engine.types import RunSession
from tests import mariadb
from tests.conftest import MakeMariadbDatabase
from tests.engine import engines, runnable, running
from tests.engine.engines import MariadbTarget

THREE = runnable.chain("alpha", "beta", "gamma")
THIRD_FAILS = runnable.Script(
    "r1",
    """
    op.execute("CREATE TABLE first (id int PRIMARY KEY)")
    op.execute("CREATE TABLE second (id int PRIMARY KEY)")
    op.execute("CREATE TABLE third (id no_such_type)")
    """,
)


@pytest.fixture
def target(make_mariadb_database: MakeMariadbDatabase) -> MariadbTarget:
    return MariadbTarget(make_mariadb_database("runner"))


def test_an_upgrade_runs_and_its_steps_are_told(tmp_path: Path, target: MariadbTarget) -> None:
    outcome = running.run(engines.request(target, "r1", "r2", "r3"), runnable.write(tmp_path, THREE))

    assert outcome.exit.exit_code == 0, outcome.events
    assert target.tables() == {"alpha", "beta", "gamma", "alembic_version"}
    assert target.read().revisions == ("r3",)
    assert len(outcome.all("step_ended")) == 3
    assert outcome.one("finished")["commit_after_version"] is True


def test_the_settings_are_read_back(tmp_path: Path, target: MariadbTarget) -> None:
    outcome = running.run(engines.request(target, "r1"), runnable.write(tmp_path, THREE[:1]))

    told = outcome.one("connected")
    assert told["settings"] == {
        "lock_wait_timeout": "4",
        "innodb_lock_wait_timeout": "4",
        "max_statement_time": "90.0",
        "idle_transaction_timeout": "61",
    }
    assert (told["engine"], told["database"]) == ("MariaDB", target.parsed.database)


def test_the_session_is_found_by_the_name_that_it_told(tmp_path: Path, target: MariadbTarget) -> None:
    name = "bind.exec_driver_sql(\"SELECT IS_USED_LOCK('{}') = CONNECTION_ID()\").scalar()"
    up = 'import os\nbind = op.get_bind()\nprint(open(os.environ["TOLD"]).read())'
    told = tmp_path / "told"
    seen: list[RunSession] = []

    def note(event: dict[str, object]) -> None:
        if event["event"] == "connected":
            seen.append(RunSession(int(str(event["backend_pid"])), str(event["session"])))
            told.write_text(name.format(event["session"]))

    up = 'import os\nbind = op.get_bind()\nprint(eval(open(os.environ["TOLD"]).read()))'
    folder = runnable.write(tmp_path / "project", [runnable.Script("r1", up)])

    outcome = running.run(engines.request(target, "r1", extra_environment={"TOLD": str(told)}), folder, on_event=[note])

    assert outcome.printed["stdout"] == "1\n"
    assert len(seen) == 1


def test_a_third_statement_that_fails_leaves_the_first_two(tmp_path: Path, target: MariadbTarget) -> None:
    outcome = running.run(engines.request(target, "r1"), runnable.write(tmp_path, [THIRD_FAILS]))

    assert outcome.exit.exit_code == 1
    assert outcome.one("error")["sqlstate"] == "HY000"
    assert "no_such_type" in outcome.one("error")["message"]
    assert {"first", "second"} <= target.tables()
    assert target.read().revisions == ()


def test_another_database_of_the_server_is_refused(
    tmp_path: Path, target: MariadbTarget, make_mariadb_database: MakeMariadbDatabase
) -> None:
    other = MariadbTarget(make_mariadb_database("other"))
    folder = runnable.write(tmp_path, THREE, env=runnable.env_with(repr(other.sqlalchemy_url("pymysql"))))

    outcome = running.run(engines.request(target, "r1", "r2", "r3"), folder)

    assert outcome.refusal == "wrong_target"
    assert other.parsed.password not in str(outcome.events)
    assert other.tables() == target.tables() == set()


def test_another_engine_is_refused(tmp_path: Path, target: MariadbTarget) -> None:
    folder = runnable.write(tmp_path, THREE, env=runnable.env_with('"sqlite:////tmp/elsewhere.db"'))

    outcome = running.run(engines.request(target, "r1", "r2", "r3"), folder)

    assert "a database of sqlite" in outcome.one("refused")["message"]


@pytest.mark.parametrize("detour", ["unix_socket=/run/x", "read_default_file=/etc/my.cnf"])
def test_a_parameter_that_leads_elsewhere_is_refused(tmp_path: Path, target: MariadbTarget, detour: str) -> None:
    url = f'{runnable.INI_URL} + "?{detour}"'

    outcome = running.run(
        engines.request(target, "r1"), runnable.write(tmp_path, THREE[:1], env=runnable.env_with(url))
    )

    assert outcome.refusal == "wrong_target"
    assert detour.partition("=")[0] in outcome.one("refused")["message"]


def test_a_connection_that_the_project_made_itself_is_checked(
    tmp_path: Path, target: MariadbTarget, make_mariadb_database: MakeMariadbDatabase
) -> None:
    other = MariadbTarget(make_mariadb_database("other"))
    setup = f"import pymysql\ndef own():\n    return pymysql.connect(**{other.parsed.connect_arguments()!r})"
    env = runnable.env_with('"mysql+pymysql://", creator=own', setup=setup)

    outcome = running.run(engines.request(target, "r1"), runnable.write(tmp_path, THREE[:1], env=env))

    assert outcome.refusal == "wrong_identity"
    assert other.tables() == set()


def test_a_held_lock_is_waited_for_and_refused_after_the_budget(tmp_path: Path, target: MariadbTarget) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    request = engines.request(target, "r1", lock_budget_s=1)
    with target.connect() as holder, holder.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [request.lock_name])

        outcome = running.run(request, folder)

    assert outcome.refusal == "lock_busy"
    assert outcome.one("refused")["holder"]["user"] == target.parsed.user
    assert target.tables() == set()


def test_the_lock_moves_to_the_migrating_session(tmp_path: Path, target: MariadbTarget) -> None:
    request = engines.request(target, "r1")
    query = f"SELECT IS_USED_LOCK('{request.lock_name}') = CONNECTION_ID()"
    up = f'print("here:", op.get_bind().exec_driver_sql("{query}").scalar())'
    env = runnable.env_with(runnable.INI_URL, setup=f"early = create_engine({runnable.INI_URL}).connect()")

    outcome = running.run(request, runnable.write(tmp_path, [runnable.Script("r1", up)], env=env))

    assert len(outcome.all("connected")) == len(outcome.all("lock_taken")) == 2
    assert outcome.printed["stdout"] == "here: 1\n"


def test_a_changed_start_is_refused(tmp_path: Path, target: MariadbTarget) -> None:
    target.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    target.execute("INSERT INTO alembic_version VALUES ('elsewhere')")

    outcome = running.run(engines.request(target, "r1"), runnable.write(tmp_path, THREE[:1]))

    assert outcome.refusal == "start_changed"


def test_a_server_that_only_reads_is_refused(
    tmp_path: Path, target: MariadbTarget, mariadb_server: mariadb.Mariadb
) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    request = engines.request(target, "r1")
    mariadb_server.execute("SET GLOBAL read_only = 1")
    try:
        outcome = running.run(request, folder)

        assert outcome.refusal == "standby"
        assert target.read().identity.in_recovery
    finally:
        mariadb_server.execute("SET GLOBAL read_only = 0")
