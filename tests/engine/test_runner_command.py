"""The project's own command is called in the runner, with the hooks armed in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from migrations_audit.engine import protocol
from migrations_audit.states import UrlDelivery
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Outcome, Target

CHAIN = runnable.chain("alpha", "beta")
ENV = runnable.env_with('__import__("os").environ["APP_DATABASE_URL"]')
MANAGE = """
    import sys
    from alembic import command
    from alembic.config import Config

    def main():
        verb, revision = sys.argv[1:3]
        getattr(command, verb)(Config("alembic.ini"), revision)
        sys.exit({code})

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


def request(target: Target, *revisions: str, **changes: Any) -> protocol.RunnerRequest:
    given = {
        "url_delivery": UrlDelivery.ENVIRONMENT,
        "url_delivery_name": "APP_DATABASE_URL",
        "command": ("manage_db.py", "upgrade", revisions[-1]),
    }
    return running.upgrade_request(target, *revisions, **(given | changes))


def project(tmp_path: Path, *, code: str = "0") -> Path:
    folder = runnable.write(tmp_path, CHAIN, env=ENV)
    (folder / "manage_db.py").write_text(dedent(MANAGE).replace("{code}", code))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("manage_db.py", "upgrade", "r2"),
        ("-m", "manage_db", "upgrade", "r2"),
        ("alembic", "-c", "alembic.ini", "upgrade", "r2"),
        ("-m", "alembic", "upgrade", "r2"),
    ],
    ids=["file", "own module", "console script", "installed module"],
)
def test_a_command_is_followed_step_by_step_to_its_end(
    tmp_path: Path, target: Target, command: tuple[str, ...]
) -> None:
    outcome = running.run(request(target, "r1", "r2", command=command), project(tmp_path))

    assert outcome.exit.exit_code == 0, outcome.printed["stderr"]
    assert [event["revision"] for event in outcome.all("step_ended")] == ["r1", "r2"]
    assert outcome.one("finished")["commit_after_version"] is True
    assert target.revisions() == ["r2"]


def test_a_command_that_would_do_more_than_was_approved_is_refused(tmp_path: Path, target: Target) -> None:
    outcome = running.run(request(target, "r1", command=("manage_db.py", "upgrade", "head")), project(tmp_path))

    assert outcome.refusal == "plan_differs"
    assert target.tables() == set()


def test_a_command_that_ends_before_its_plan_is_incomplete(tmp_path: Path, target: Target) -> None:
    outcome = running.run(request(target, "r1", "r2", command=("manage_db.py", "upgrade", "r1")), project(tmp_path))

    assert outcome.exit.exit_code == 1
    assert outcome.one("steps_missing")["steps"] == [["r2", "upgrade"]]


def test_a_command_that_connects_elsewhere_is_refused(
    tmp_path: Path, target: Target, make_target_database: MakeTargetDatabase
) -> None:
    other = Target(make_target_database("elsewhere"))

    outcome = running.run(request(target, "r2", url=other.sqlalchemy_url("psycopg")), project(tmp_path))

    assert outcome.refusal == "wrong_target"
    assert other.tables() == set()


def test_a_command_that_does_not_exist_is_refused_in_words(tmp_path: Path, target: Target) -> None:
    outcome = running.run(request(target, "r2", command=("no-such-tool", "upgrade")), project(tmp_path))

    assert outcome.refusal == "no_such_command"
    assert "no-such-tool" in outcome.one("refused")["message"]


@pytest.mark.parametrize("code", ["3", "'boom'"])
def test_a_command_that_says_that_it_failed_is_not_complete(tmp_path: Path, target: Target, code: str) -> None:
    outcome = running.run(request(target, "r1", "r2"), project(tmp_path, code=code))

    assert outcome.exit.exit_code == 1
    assert outcome.one("error")["type"] == "SystemExit"


def test_scripts_that_are_not_the_approved_ones_are_refused_before_anything_is_executed(
    tmp_path: Path, target: Target
) -> None:
    folder = project(tmp_path)
    approved = {
        "r1": digest(folder / "migrations" / "versions" / "r1.py"),
        "r2": hashlib.sha256(b"another file").hexdigest(),
    }

    outcome = running.run(request(target, "r1", "r2", files=approved), folder)

    assert outcome.refusal == "scripts_differ"
    assert "r2" in outcome.one("refused")["message"]
    assert target.tables() == set()


def test_another_env_py_is_refused(tmp_path: Path, target: Target) -> None:
    outcome = running.run(request(target, "r1", "r2", env_py=hashlib.sha256(b"other").hexdigest()), project(tmp_path))

    assert outcome.refusal == "scripts_differ"
    assert target.tables() == set()


def test_the_approved_files_are_accepted(tmp_path: Path, target: Target) -> None:
    folder = project(tmp_path)
    approved = {name: digest(folder / "migrations" / "versions" / f"{name}.py") for name in ("r1", "r2")}

    outcome: Outcome = running.run(
        request(target, "r1", "r2", files=approved, env_py=digest(folder / "migrations" / "env.py")), folder
    )

    assert outcome.exit.exit_code == 0


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
