"""The gate and Check now from a shell: the exit code is the answer, and 0 takes a fresh reading."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from migrations_audit import dispatch
from migrations_audit.management.commands import gate as gate_command
from migrations_audit.models import Environment
from migrations_audit.queries import gate
from migrations_audit.states import TargetStatus
from tests import people
from tests.faces.commands.conftest import Run

TARGET = ("--target", "market/production/main")
MANAGE = Path(__file__).parents[3] / "manage.py"


def read(place: people.Place, status: TargetStatus, **changes: Any) -> None:
    values: dict[str, Any] = {"revisions": ["003"], "pending": []}
    if status is TargetStatus.UNREACHABLE:
        values |= {"identity": None, "catalog": None}
    people.observe(place, status=status, **(values | changes))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (TargetStatus.IN_SYNC, 0),
        (TargetStatus.BEHIND, 10),
        (TargetStatus.AHEAD, 11),
        (TargetStatus.UNKNOWN_REVISION, 11),
        (TargetStatus.SEVERAL_HEADS, 11),
        (TargetStatus.NOT_INITIALISED, 11),
        (TargetStatus.REGRESSED, 11),
        (TargetStatus.TABLES_MISSING, 11),
        (TargetStatus.UNREACHABLE, 12),
        (TargetStatus.UNREADABLE_SCRIPTS, 12),
        (TargetStatus.WRONG_DATABASE, 13),
    ],
)
def test_the_exit_code_of_the_gate_is_what_was_read(
    place: people.Place, run: Run, status: TargetStatus, code: int
) -> None:
    read(place, TargetStatus.IN_SYNC)
    read(place, status)

    ended = run("gate", "--as", "dev", *TARGET)

    assert ended.code == code
    assert "market/production/main" in ended.out


def test_every_status_and_every_answer_has_its_exit_code() -> None:
    assert set(gate_command.CODES) == set(gate.Answer)
    assert [answer for answer, code in gate_command.CODES.items() if code == 0] == [gate.Answer.IN_SYNC]


def test_a_target_that_was_never_read_ends_with_12(place: people.Place, run: Run) -> None:
    ended = run("gate", "--as", "dev", *TARGET)

    assert ended.code == 12
    assert "never read" in ended.out


def test_a_reading_that_is_too_old_ends_with_12(place: people.Place, run: Run) -> None:
    read(place, TargetStatus.IN_SYNC)
    Environment.objects.update(fresh_for_s=0)

    ended = run("gate", "--as", "dev", *TARGET)

    assert ended.code == 12
    assert "stale" in ended.out


def test_a_deploy_may_name_its_revision(place: people.Place, run: Run) -> None:
    read(place, TargetStatus.IN_SYNC)

    assert run("gate", "--as", "dev", *TARGET, "--expect", "003").code == 0
    assert run("gate", "--as", "dev", *TARGET, "--expect", "004").code == 11


@pytest.mark.parametrize(
    "arguments",
    [
        ("--as", "dev", "--target", "market/production/other"),
        ("--as", "outsider", *TARGET),
        ("--as", "nobody", *TARGET),
        ("--as", "dev", *TARGET, "--expect=--sql"),
        ("--as", "dev", *TARGET, "--expect", ""),
    ],
)
def test_a_question_that_makes_no_sense_ends_with_2(place: people.Place, run: Run, arguments: tuple[str, ...]) -> None:
    read(place, TargetStatus.IN_SYNC)

    assert run("gate", *arguments).code == 2


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(MANAGE), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


NOWHERE = {"DATABASE_URL": "postgresql://portal:hunter2@127.0.0.1:1/portal"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("gate", "--as", "dev", *TARGET), 12),
        (("observe", "--as", "dev", *TARGET), 3),
        (("show_run", "--as", "dev", "1"), 3),
        (("verify_audit",), 2),
        (("gate",), 2),
        (("gate", "--as", "dev", *TARGET, "--force"), 2),
        (("observe", "--as", "dev", *TARGET, "--within", "soon"), 2),
    ],
)
def test_without_the_portals_database_a_shell_never_sees_0(arguments: tuple[str, ...], code: int) -> None:
    ended = shell(*arguments, **NOWHERE)

    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr + ended.stdout


@pytest.fixture
def worker(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker beside the test: it reads as soon as it is woken."""

    def answers(status: TargetStatus) -> None:
        def woken(wake: dispatch.Wake, *, queue: str, **_: object) -> None:
            assert (wake, queue) == (dispatch.Wake.OBSERVE, "target-production")
            read(place, status)

        monkeypatch.setattr(dispatch, "after_commit", woken)

    return answers


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (TargetStatus.IN_SYNC, 0),
        (TargetStatus.BEHIND, 0),
        (TargetStatus.UNREACHABLE, 12),
        (TargetStatus.UNREADABLE_SCRIPTS, 12),
        (TargetStatus.WRONG_DATABASE, 13),
    ],
)
def test_check_now_ends_with_what_was_read(worker: Any, run: Run, status: TargetStatus, code: int) -> None:
    worker(status)

    ended = run("observe", "--as", "dev", *TARGET)

    assert ended.code == code
    assert "read by worker@test" in ended.out


def test_check_now_without_a_worker_ends_with_12_although_an_older_reading_is_there(
    place: people.Place, run: Run
) -> None:
    read(place, TargetStatus.IN_SYNC)

    ended = run("observe", "--as", "dev", *TARGET, "--within", "0.1")

    assert ended.code == 12
    assert "target-production" in ended.out


def test_check_now_of_something_hidden_is_refused(place: people.Place, run: Run) -> None:
    assert "(not_found)" in run("observe", "--as", "outsider", *TARGET, "--within", "0").err
