"""The time that a rehearsal may take, and what is made of a pass that the copy alone is to blame for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from migrations_audit.engine.rehearsing import shortcomings
from migrations_audit.engine.rehearsing.grading import Graded
from migrations_audit.engine.rehearsing.types import Pass, Statement, Step
from migrations_audit.engine.types import RunnerExit
from migrations_audit.execution import keeping, playing, rehearsing
from migrations_audit.execution.playing import Player
from migrations_audit.states import Grade
from tests.people import make_place, make_run

pytestmark = pytest.mark.django_db


def player(*, deadline_s: int, elapsed: float = 0) -> Player:
    """One whose plan may take ``deadline_s`` and that began ``elapsed`` seconds ago."""
    run = make_run(make_place(deadline_s=deadline_s), state="awaiting_approval")
    others: dict[str, Any] = dict.fromkeys(
        ("scripts", "scratch", "copy", "kept", "folder", "interpreter", "confinement", "heartbeat", "application_name")
    )
    assert run.plan is not None
    return Player(run=run, plan=run.plan, **others, began=time.monotonic() - elapsed)


def exited(by: str, code: int = 137) -> RunnerExit:
    return RunnerExit(exit_code=code, signal=9, ended_by=by, output_sha256="", output_bytes=0, output_cut=False)


@pytest.mark.parametrize(
    ("deadline_s", "elapsed", "limit"), [(60, 0, 60), (3_600, 0, 900), (3_600, 800, 100), (60, 950, 1)]
)
def test_all_passes_together_have_one_limit(deadline_s: int, elapsed: float, limit: int) -> None:
    assert abs(player(deadline_s=deadline_s, elapsed=elapsed)._limits().deadline_s - limit) <= 1


def test_what_took_too_long_for_a_rehearsal_is_not_the_plans_failure() -> None:
    code, sentence = player(deadline_s=3_600, elapsed=901)._problem(exited("deadline"))

    assert code in shortcomings.OF_THE_RUNNER
    assert "longer than a rehearsal may" in sentence


def test_what_took_longer_than_the_environments_deadline_is() -> None:
    code, sentence = player(deadline_s=60, elapsed=61)._problem(exited("deadline"))

    assert code not in shortcomings.OF_THE_RUNNER
    assert "the environment's deadline" in sentence


@pytest.mark.parametrize(("by", "code"), [("protocol", "protocol"), ("itself", "runner_ended")])
def test_a_runner_that_ended_oddly_says_so(by: str, code: str) -> None:
    assert player(deadline_s=60)._problem(exited(by))[0] == code


def test_a_runner_that_ended_well_says_nothing() -> None:
    assert player(deadline_s=60)._problem(exited("itself", 0)) == ("", "")


def again(**ended: str) -> Pass:
    return Pass((Step("r1", "upgrade", ended=False),), "it did not end", **ended)


def test_a_revision_that_fails_the_second_time_was_not_taken_back_whole() -> None:
    known = {"r1": Graded(Grade.EXACT)}

    found = rehearsing._not_again(dict(known), [again(code="error", sqlstate="42P07")], ())

    assert found["r1"].grade is Grade.LOSSY
    assert "Applied again after its downgrade" in found["r1"].reasons[0]


@pytest.mark.parametrize("ended", [{"code": "too_long"}, {"code": "error", "sqlstate": "42501"}])
def test_what_only_the_copy_could_not_do_again_changes_no_grade(ended: dict[str, str]) -> None:
    known = {"r1": Graded(Grade.EXACT)}

    assert rehearsing._not_again(dict(known), [again(**ended)], ()) == known


def test_a_worse_grade_stays_when_the_upgrade_fails_because_nothing_was_taken_back() -> None:
    known = {"r1": Graded(Grade.IMPOSSIBLE, ("empty",))}

    assert rehearsing._not_again(known, [again(code="error")], ())["r1"] == Graded(Grade.IMPOSSIBLE, ("empty",))


def test_no_more_is_kept_of_the_statements_than_a_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_STATEMENTS", 3)
    monkeypatch.setattr(keeping, "MOST_TEXT", 100)
    statement = Statement("x" * 40)
    room = keeping._Room()

    assert len(room.take([statement])) == 1
    assert len(room.take([statement] * 5)) == 1
    assert room.take([Statement("y")]) == []
    assert playing.LONGEST_S == 900
