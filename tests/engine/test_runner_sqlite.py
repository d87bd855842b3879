"""The runner on a SQLite file: bound to that file, one run at a time, and DDL that stays."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

import pytest

from migrations_audit.engine import dialects
from tests.engine import engines, runnable, running
from tests.engine.engines import SqliteTarget
from tests.engine.test_runner_mariadb import THIRD_FAILS, THREE


@pytest.fixture
def target(tmp_path: Path) -> SqliteTarget:
    path = tmp_path / "data" / "shop.db"
    path.parent.mkdir()
    path.touch()
    return SqliteTarget(str(path))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def test_an_upgrade_runs_and_its_steps_are_told(project: Path, target: SqliteTarget) -> None:
    outcome = running.run(engines.request(target, "r1", "r2", "r3"), runnable.write(project, THREE))

    assert outcome.exit.exit_code == 0, outcome.events
    assert target.tables() == {"alpha", "beta", "gamma", "alembic_version"}
    assert target.read().revisions == ("r3",)
    assert outcome.one("finished")["commit_after_version"] is True
    assert outcome.one("connected")["settings"] == {"busy_timeout": "4000"}


def test_a_third_statement_that_fails_leaves_the_first_two(project: Path, target: SqliteTarget) -> None:
    third = runnable.Script("r1", THIRD_FAILS.up.replace("id no_such_type", "id int, id int"))

    outcome = running.run(engines.request(target, "r1"), runnable.write(project, [third]))

    assert outcome.exit.exit_code == 1
    assert {"first", "second"} <= target.tables()
    assert target.read().revisions == ()


@pytest.mark.parametrize("name", ["other.db", ":memory:", ""])
def test_another_file_is_refused(tmp_path: Path, project: Path, target: SqliteTarget, name: str) -> None:
    other = tmp_path / "other.db"
    url = f"sqlite:///{other}" if name == "other.db" else f"sqlite:///{name}"

    outcome = running.run(
        engines.request(target, "r1"), runnable.write(project, THREE[:1], env=runnable.env_with(repr(url)))
    )

    assert outcome.refusal == "wrong_target"
    assert not other.exists()
    assert target.tables() == set()


def test_a_uri_is_refused(project: Path, target: SqliteTarget) -> None:
    env = runnable.env_with(f'"sqlite:///file:{target.url}?uri=true&mode=rwc"')

    outcome = running.run(engines.request(target, "r1"), runnable.write(project, THREE[:1], env=env))

    assert "a SQLite URI" in outcome.one("refused")["message"]


def test_a_connection_that_the_project_made_itself_is_checked(
    tmp_path: Path, project: Path, target: SqliteTarget
) -> None:
    setup = f"import sqlite3\ndef own():\n    return sqlite3.connect({str(tmp_path / 'own.db')!r})"
    env = runnable.env_with('"sqlite://", creator=own', setup=setup)

    outcome = running.run(engines.request(target, "r1"), runnable.write(project, THREE[:1], env=env))

    assert outcome.refusal == "wrong_identity"


def test_a_file_that_was_replaced_is_refused(project: Path, target: SqliteTarget) -> None:
    request = engines.request(target, "r1")
    os.rename(target.url, f"{target.url}.old")
    sqlite3.connect(target.url).close()
    Path(target.url).touch()

    outcome = running.run(request, runnable.write(project, THREE[:1]))

    assert outcome.refusal == "wrong_identity"
    assert target.tables() == set()


def test_a_held_lock_is_waited_for_and_refused_after_the_budget(project: Path, target: SqliteTarget) -> None:
    folder = runnable.write(project, THREE[:1])
    with open(dialects.lock_name(target.parsed), "w+") as lock:
        lock.write("the night batch")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

        outcome = running.run(engines.request(target, "r1", lock_budget_s=1), folder)

    assert outcome.refusal == "lock_busy"
    assert "the night batch" in outcome.one("refused")["message"]
    assert target.tables() == set()


def test_two_connections_of_one_run_share_the_lock(project: Path, target: SqliteTarget) -> None:
    env = runnable.env_with(runnable.INI_URL, setup=f"early = create_engine({runnable.INI_URL}).connect()")

    outcome = running.run(engines.request(target, "r1"), runnable.write(project, THREE[:1], env=env))

    assert outcome.exit.exit_code == 0
    assert len(outcome.all("connected")) == 2
