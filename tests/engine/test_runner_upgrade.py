"""The runner executes what was approved, and tells it in order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migrations_audit.states import UrlDelivery
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Target

THREE = runnable.chain("alpha", "beta", "gamma")
ENVIRONMENTS = {"psycopg": runnable.ONLINE_ENV, "psycopg2": runnable.ONLINE_ENV, "asyncpg": runnable.ASYNC_ENV}


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


@pytest.mark.parametrize("driver", list(ENVIRONMENTS))
def test_three_revisions_are_applied_in_one_commit_and_told_in_order(
    tmp_path: Path, target: Target, driver: str
) -> None:
    folder = runnable.write(tmp_path, THREE, env=ENVIRONMENTS[driver])

    outcome = running.run(running.upgrade_request(target, "r1", "r2", "r3", driver=driver), folder)

    assert outcome.exit.exit_code == 0
    assert outcome.exit.ended_by == "itself"
    told = outcome.names(
        "hello",
        "connected",
        "lock_taken",
        "context",
        "step_started",
        "version_written",
        "step_ended",
        "commit",
        "finished",
    )
    step = ["step_started", "version_written", "step_ended"]
    assert told == ["hello", "connected", "lock_taken", "context", *step, *step, *step, "commit", "finished"]
    assert outcome.one("finished")["commit_after_version"] is True
    assert target.tables() == {"alembic_version", "alpha", "beta", "gamma"}
    assert target.revisions() == ["r3"]


@pytest.mark.parametrize("driver", list(ENVIRONMENTS))
def test_the_settings_asked_for_are_in_force(tmp_path: Path, target: Target, driver: str) -> None:
    folder = runnable.write(tmp_path, THREE[:1], env=ENVIRONMENTS[driver])

    outcome = running.run(running.upgrade_request(target, "r1", driver=driver), folder)

    assert outcome.one("connected")["settings"] == {
        "application_name": running.TAG,
        "lock_timeout": "4000",
        "statement_timeout": "90000",
        "idle_in_transaction_session_timeout": "61000",
        "client_connection_check_interval": "1000",
    }
    assert outcome.one("connected")["database_oid"] == target.expected().database_oid


def test_the_settings_are_in_force_in_a_connection_that_the_project_opened_itself(
    tmp_path: Path, target: Target
) -> None:
    env = runnable.env_with(
        '"postgresql+psycopg://", creator=connect',
        setup=f"""
            import psycopg
            def connect():
                return psycopg.connect({target.url!r})
        """,
    )
    folder = runnable.write(tmp_path, THREE[:1], env=env)

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.exit.exit_code == 0
    assert outcome.one("connected")["settings"]["application_name"] == running.TAG
    assert outcome.one("connected")["settings"]["lock_timeout"] == "4000"
    assert target.revisions() == ["r1"]


def test_a_transaction_per_migration_shows_as_a_commit_per_step(tmp_path: Path, target: Target) -> None:
    env = runnable.env_with(runnable.INI_URL, configure="transaction_per_migration=True")
    folder = runnable.write(tmp_path, THREE, env=env)

    outcome = running.run(running.upgrade_request(target, "r1", "r2", "r3"), folder)

    names = outcome.names("version_written", "commit", "step_ended")
    assert names[-9:] == ["version_written", "commit", "step_ended"] * 3
    assert outcome.one("context")["transaction_per_migration"] is True


def test_the_commit_of_a_step_is_told_after_any_number_of_statements(tmp_path: Path, target: Target) -> None:
    env = runnable.env_with(
        runnable.INI_URL,
        setup="import __main__\n__main__.MAX_STATEMENT_EVENTS = 1",
        configure="transaction_per_migration=True",
    )
    folder = runnable.write(tmp_path, THREE, env=env)

    outcome = running.run(running.upgrade_request(target, "r1", "r2", "r3"), folder)

    names = outcome.names("version_written", "commit", "step_ended")
    assert names[-9:] == ["version_written", "commit", "step_ended"] * 3


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_project_that_works_without_transactions_is_run(tmp_path: Path, target: Target, driver: str) -> None:
    env = runnable.env_with(f'{runnable.INI_URL}, isolation_level="AUTOCOMMIT"')
    folder = runnable.write(tmp_path, THREE, env=env)

    outcome = running.run(running.upgrade_request(target, "r1", "r2", "r3", driver=driver), folder)

    assert outcome.exit.exit_code == 0
    assert target.revisions() == ["r3"]


def test_an_autocommit_block_is_told(tmp_path: Path, target: Target) -> None:
    up = """
        op.execute("CREATE TABLE alpha (id int)")
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY alpha_id ON alpha (id)")
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.names("autocommit_entered", "autocommit_left") == ["autocommit_entered", "autocommit_left"]
    assert outcome.one("finished")["autocommit_blocks"] == 1
    assert outcome.one("finished")["commit_after_version"] is True
    assert target.rows("SELECT indisvalid FROM pg_index WHERE indexrelid = 'alpha_id'::regclass") == [(True,)]


def test_statements_are_told_without_their_parameters(tmp_path: Path, target: Target) -> None:
    up = """
        import sqlalchemy as sa
        op.execute("CREATE TABLE alpha (id int, note text)")
        op.get_bind().execute(sa.text("INSERT INTO alpha VALUES (:id, :note)"), [{"id": 1, "note": "confidential"}])
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    started = outcome.all("statement_started")
    assert [event["text"].split(" ")[0] for event in started] == ["CREATE", "INSERT", "INSERT"]
    assert [event["rowcount"] for event in outcome.all("statement_ended")][1:] == [1, 1]
    assert [event["values"] for event in started] == [False, True, False]
    assert {event["position"] for event in started} == {1}
    assert "confidential" not in str(outcome.events)


def test_a_statement_whose_text_is_cut_says_by_how_much(tmp_path: Path, target: Target) -> None:
    up = 'op.execute("SELECT 1 AS one, \'" + "x" * 5_000 + "\'")'

    outcome = running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, [runnable.Script("r1", up)]))

    long, version = outcome.all("statement_started")
    assert (len(long["text"]), long["cut"]) == (4_000, 5_000 + len("SELECT 1 AS one, ''") - 4_000)
    assert version["cut"] == 0


def test_the_way_down_is_told_as_the_way_up(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE)
    running.run(running.upgrade_request(target, "r1", "r2", "r3"), folder)
    request = running.upgrade_request(
        target, mode="downgrade", start=("r3",), destination=("r1",), steps=(("r3", "downgrade"), ("r2", "downgrade"))
    )

    outcome = running.run(request, folder)

    assert outcome.exit.exit_code == 0
    assert [(event["revision"], event["direction"]) for event in outcome.all("step_ended")] == [
        ("r3", "downgrade"),
        ("r2", "downgrade"),
    ]
    assert target.revisions() == ["r1"]
    assert target.tables() == {"alembic_version", "alpha"}


def test_two_heads_are_reached_one_after_the_other(tmp_path: Path, target: Target) -> None:
    branch = runnable.Script("b1", 'op.execute("CREATE TABLE delta (id int)")')
    folder = runnable.write(tmp_path, [*THREE[:2], branch])
    request = running.upgrade_request(target, "b1", "r1", "r2", destination=("b1", "r2"))

    outcome = running.run(request, folder)

    assert outcome.exit.exit_code == 0
    assert [event["revision"] for event in outcome.all("step_ended")] == ["b1", "r1", "r2"]
    assert [event["position"] for event in outcome.all("step_ended")] == [1, 2, 3]
    assert target.revisions() == ["b1", "r2"]


def test_the_url_comes_through_the_environment(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE[:1], env=runnable.env_with('os.environ["SHOP_DATABASE"]'))
    request = running.upgrade_request(
        target, "r1", url_delivery=UrlDelivery.ENVIRONMENT, url_delivery_name="SHOP_DATABASE"
    )

    outcome = running.run(request, folder)

    assert outcome.exit.exit_code == 0
    assert target.revisions() == ["r1"]


def test_the_url_and_other_pairs_come_through_x_arguments(tmp_path: Path, target: Target) -> None:
    env = runnable.env_with(
        'given["dburi"]', setup='given = context.get_x_argument(as_dictionary=True); print("tenant", given["tenant"])'
    )
    folder = runnable.write(tmp_path, THREE[:1], env=env)
    request = running.upgrade_request(
        target, "r1", url_delivery=UrlDelivery.X_ARGUMENT, url_delivery_name="dburi", x_arguments=("tenant=blue",)
    )

    outcome = running.run(request, folder)

    assert outcome.exit.exit_code == 0
    assert outcome.printed["stdout"] == "tenant blue\n"
    assert target.revisions() == ["r1"]


def test_a_password_with_percent_signs_arrives_whole_and_is_never_told(tmp_path: Path, target: Target) -> None:
    role = f"r_{target.connection().database}"
    target.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'p%40ss w%d'")
    connection = replace(target.connection(), user=role, password="p%40ss w%d")
    place = f"{connection.host}:{connection.port}/{connection.database}"
    request = running.upgrade_request(
        target, "r1", connection=connection, url=f"postgresql+psycopg://{role}:p%2540ss%20w%25d@{place}"
    )
    folder = runnable.write(
        tmp_path,
        THREE[:1],
        env=f"from alembic import context\nprint({runnable.INI_URL})\n" + runnable.env_with(runnable.INI_URL),
    )

    try:
        outcome = running.run(request, folder)
    finally:
        target.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}")

    assert outcome.exit.exit_code == 0
    assert f"postgresql+psycopg://{role}:" in outcome.printed["stdout"]
    assert "40ss" not in str(outcome)
    assert "40ss" not in repr(request)


def test_another_section_and_another_version_table_are_used(tmp_path: Path, target: Target) -> None:
    target.execute("CREATE SCHEMA ops")
    env = runnable.env_with(runnable.INI_URL, configure='version_table="versions", version_table_schema="ops"')
    folder = runnable.write(tmp_path, THREE[:1], env=env)
    ini = folder / "alembic.ini"
    ini.write_text(ini.read_text().replace("[alembic]", "[shop]"))
    request = running.upgrade_request(
        target, "r1", ini_section="shop", version_table="versions", version_table_schema="ops"
    )

    outcome = running.run(request, folder)

    assert outcome.exit.exit_code == 0
    assert target.rows("SELECT version_num FROM ops.versions") == [("r1",)]


def test_a_project_configured_by_pyproject_is_run(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    (folder / "alembic.ini").unlink()
    (folder / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/migrations"\n')

    outcome = running.run(running.upgrade_request(target, "r1", config_path="pyproject.toml"), folder)

    assert outcome.exit.exit_code == 0
    assert target.revisions() == ["r1"]


def test_a_project_folder_named_alembic_does_not_hide_the_package(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE[:1], location="alembic", ini="prepend_sys_path = .\n")
    (folder / "alembic" / "__init__.py").write_text("raise RuntimeError('the wrong alembic')\n")
    (folder / "shop.py").write_text("NAME = 'shop'\n")
    env = folder / "alembic" / "env.py"
    env.write_text("import shop\n" + env.read_text())

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.exit.exit_code == 0
    assert target.revisions() == ["r1"]
