"""A run that fails, or that ends without having done anything, says so with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Target

THREE = runnable.chain("alpha", "beta", "gamma")


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


@pytest.mark.parametrize(
    ("driver", "env"),
    [("psycopg", runnable.ONLINE_ENV), ("psycopg2", runnable.ONLINE_ENV), ("asyncpg", runnable.ASYNC_ENV)],
)
def test_a_failing_second_revision_is_told_with_its_sql_and_rolled_back(
    tmp_path: Path, target: Target, driver: str, env: str
) -> None:
    bad = runnable.Script("r2", 'op.execute("ALTER TABLE nowhere ADD COLUMN x int")', "r1")
    folder = runnable.write(tmp_path, [THREE[0], bad, THREE[2]], env=env)

    outcome = running.run(running.upgrade_request(target, "r1", "r2", "r3", driver=driver), folder)

    assert outcome.exit.exit_code == 1
    error = outcome.one("error")
    assert (error["revision"], error["sqlstate"]) == ("r2", "42P01")
    assert error["statement"] == "ALTER TABLE nowhere ADD COLUMN x int"
    assert "nowhere" in error["message"]
    assert error["where"] == "migrations/versions/r2.py:5"
    assert outcome.names("step_started", "step_ended", "rollback", "commit") == [
        "step_started",
        "step_ended",
        "step_started",
        "rollback",
    ]
    assert target.tables() == set()


def test_a_failure_after_a_commit_says_what_was_committed(tmp_path: Path, target: Target) -> None:
    bad = runnable.Script("r2", "raise ValueError('x' * 20_000 + ' the reason')", "r1")
    folder = runnable.write(
        tmp_path, [THREE[0], bad], env=runnable.env_with(runnable.INI_URL, configure="transaction_per_migration=True")
    )

    outcome = running.run(running.upgrade_request(target, "r1", "r2"), folder)

    assert outcome.one("error")["type"] == "ValueError"
    assert outcome.one("error")["message"].endswith("the reason")
    assert len(outcome.one("error")["message"]) == 8_000
    finished = outcome.one("finished")
    assert (finished["ok"], finished["steps_ended"], finished["commit_after_version"]) == (False, 1, True)
    assert target.revisions() == ["r1"]


def test_a_commit_that_fails_is_not_told_as_a_commit(tmp_path: Path, target: Target) -> None:
    up = """
        op.execute("CREATE TABLE a (id int PRIMARY KEY)")
        op.execute("CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
        op.execute("INSERT INTO b VALUES (1)")
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.one("error")["sqlstate"] == "23503"
    assert outcome.names("step_ended", "commit") == ["step_ended"]
    assert outcome.one("finished")["commit_after_version"] is False
    assert target.tables() == set()


def test_sql_before_configure_without_a_commit_ends_well_and_is_told_as_not_committed(
    tmp_path: Path, target: Target
) -> None:
    env = runnable.env_with(runnable.INI_URL, before="""connection.execute(text("SET search_path TO public"))""")

    outcome = running.run(running.upgrade_request(target, "r1", "r2"), runnable.write(tmp_path, THREE[:2], env=env))

    assert outcome.exit.exit_code == 0
    assert len(outcome.all("step_ended")) == len(outcome.all("version_written")) == 2
    finished = outcome.one("finished")
    assert finished["external_transaction"] is True
    assert finished["commit_after_version"] is False
    assert target.tables() == set()


def test_a_wrong_password_is_told_even_when_the_project_swallows_it(tmp_path: Path, target: Target) -> None:
    wrong = replace(target.connection(), password="not-this-one")
    env = f"try:\n{indent(runnable.env_with(runnable.INI_URL), '    ')}\nexcept Exception:\n    print('skipped')\n"

    outcome = running.run(
        running.upgrade_request(target, "r1", connection=wrong), runnable.write(tmp_path, THREE[:1], env=env)
    )

    assert outcome.exit.exit_code == 1
    assert "password" in outcome.one("connection_failed")["message"]
    assert outcome.names("no_connection", "finished") == ["no_connection", "finished"]
    assert "not-this-one" not in str(outcome)


def test_a_project_that_ends_the_process_without_doing_anything_has_not_run(tmp_path: Path, target: Target) -> None:
    env = "import sys\nprint('skipped: DATABASE_URL not available')\nsys.exit(0)\n"

    outcome = running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, THREE[:1], env=env))

    assert outcome.exit.exit_code == 1
    assert outcome.one("error")["type"] == "SystemExit"
    assert outcome.one("finished")["connections"] == 0


def test_a_project_that_returns_without_a_connection_has_not_run(tmp_path: Path, target: Target) -> None:
    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, THREE[:1], env="print('skipped')\n")
    )

    assert outcome.exit.exit_code == 1
    assert outcome.names("no_connection", "finished") == ["no_connection", "finished"]


def test_a_project_that_connects_and_runs_nothing_has_not_run(tmp_path: Path, target: Target) -> None:
    env = runnable.env_with(runnable.INI_URL).replace("context.run_migrations()", "pass")

    outcome = running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, THREE[:1], env=env))

    assert outcome.exit.exit_code == 1
    assert outcome.one("steps_missing")["steps"] == [["r1", "upgrade"]]


def test_a_process_that_ends_at_once_with_code_zero_broke_the_protocol(tmp_path: Path, target: Target) -> None:
    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, THREE[:1], env="import os; os._exit(0)\n")
    )

    assert (outcome.exit.exit_code, outcome.exit.ended_by) == (0, "protocol")


def test_a_revision_that_cannot_be_imported_is_told(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    (folder / "migrations" / "versions" / "r1.py").write_text("import a_package_that_is_not_there\n")

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.exit.exit_code == 1
    assert outcome.one("error")["type"] == "ModuleNotFoundError"


def test_logging_configuration_closed_descriptors_and_a_replaced_stdout_do_not_silence_the_events(
    tmp_path: Path, target: Target
) -> None:
    env = dedent("""
        import io, logging.config, os, sys
        from alembic import context
        logging.config.fileConfig(context.config.config_file_name, disable_existing_loggers=True)
        sys.stdout = io.StringIO()
        os.closerange(3, 200)
    """)
    ini = """
        [loggers]
        keys = root
        [handlers]
        keys =
        [formatters]
        keys =
        [logger_root]
        level = CRITICAL
        handlers =
    """
    folder = runnable.write(tmp_path, THREE, env=env + runnable.env_with(runnable.INI_URL), ini=ini)

    outcome = running.run(running.upgrade_request(target, "r1", "r2", "r3"), folder)

    assert outcome.exit.exit_code == 0
    assert len(outcome.all("step_ended")) == 3
    assert outcome.one("finished")["ok"] is True


def test_a_revision_that_wants_more_memory_than_allowed_fails_with_that_reason(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, [runnable.Script("r1", "bytearray(4 * 1024**3)")])

    outcome = running.run(
        running.upgrade_request(target, "r1"), folder, limits=replace(running.LIMITS, memory_bytes=1024**3)
    )

    assert outcome.one("error")["type"] == "MemoryError"
    assert outcome.one("error")["message"] == "Out of memory: a run may use 1024 MiB."


def test_a_data_revision_with_very_many_statements_is_counted_not_told_one_by_one(
    tmp_path: Path, target: Target
) -> None:
    up = """
        connection = op.get_bind()
        for _ in range(10_500):
            connection.exec_driver_sql("SELECT 1")
    """
    outcome = running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, [runnable.Script("r1", up)]))

    assert outcome.exit.exit_code == 0
    assert len(outcome.all("statement_started")) <= 10_000
    assert outcome.one("step_ended")["statements"] == 10_501


def test_the_parameters_of_a_failed_statement_are_neither_told_nor_printed(tmp_path: Path, target: Target) -> None:
    up = """
        import sqlalchemy as sa
        op.get_bind().execute(sa.text("INSERT INTO nowhere VALUES (:note)"), {"note": "confi" + "dential"})
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert "INSERT INTO nowhere" in outcome.printed["stderr"]
    assert "confidential" not in outcome.printed["stderr"]
    assert "confidential" not in str(outcome.events)
