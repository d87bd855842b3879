"""What is kept of a rehearsal: each revision there, back, and there again, and the plan's own statements before all others."""

from __future__ import annotations

import pytest

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing.grading import Graded
from migrations_audit.engine.rehearsing.types import Pass, Statement, Step
from migrations_audit.execution import keeping
from migrations_audit.execution.playing import Played
from migrations_audit.models import Plan
from migrations_audit.states import Grade

NONE: dict[str, str] = {}
USERS = {"table public.users": "table"}
VERSION = {"table public.alembic_version": "table"}
PLAN = Plan(steps=[{"revision": "r1", "message": "users"}])


def step(direction: str, before: dict[str, str], after: dict[str, str], *texts: str, ended: bool = True) -> Step:
    statements = [Statement(text) for text in texts]
    return Step("r1", direction, statements, ms=7, ended=ended, changes=catalog.diff(before, after))


THERE = step("upgrade", NONE, USERS | VERSION, "CREATE TABLE users ()")
BACK = step("downgrade", USERS, NONE, "DROP TABLE users")
AGAIN = step("upgrade", NONE, USERS, "CREATE TABLE users ()")


def kept(*, back: Step | None = BACK, stuck: Pass | None = None, again: Step | None = AGAIN) -> dict[str, object]:
    played = Played(
        there=Pass((THERE,)),
        after=USERS,
        back={"r1": back} if back else {},
        stuck={"r1": stuck} if stuck else {},
        no_way_back="",
        again=(Pass((again,)),) if again else (),
    )
    (entry,) = keeping.steps(played, PLAN, {"r1": Graded(Grade.LOSSY, ("Why.",))}, version_table="alembic_version")
    return entry


def told(entry: object) -> tuple[list[str], list[str], int, bool]:
    assert isinstance(entry, dict)
    return [each["text"] for each in entry["statements"]], entry["changes"], entry["ms"], entry["ended"]


def test_the_way_back_is_kept_with_its_statements_changes_and_time() -> None:
    entry = kept()

    assert told(entry) == (["CREATE TABLE users ()"], ["+ table public.users: table"], 7, True)
    assert told(entry["back"]) == (["DROP TABLE users"], ["- table public.users"], 7, True)
    assert (entry["message"], entry["grade"], entry["reasons"]) == ("users", "lossy", ["Why."])


def test_what_was_the_same_when_it_was_applied_again_is_said_and_not_kept_twice() -> None:
    assert kept()["again"] == {"ms": 7, "ended": True, "same": True}


@pytest.mark.parametrize(
    "again",
    [
        step("upgrade", NONE, USERS, "CREATE TABLE IF NOT EXISTS users ()"),
        step("upgrade", NONE, NONE, "CREATE TABLE users ()"),
        step("upgrade", NONE, NONE, "CREATE TABLE users ()", ended=False),
    ],
    ids=["other words", "other changes", "failed"],
)
def test_what_was_not_is_kept(again: Step) -> None:
    entry = kept(again=again)["again"]

    assert isinstance(entry, dict)
    assert entry["same"] is False
    assert entry["statements"][0]["text"] == again.statements[0].text
    assert entry["ended"] is again.ended


def test_a_way_back_that_failed_is_kept_as_far_as_it_came() -> None:
    failed = step("downgrade", NONE, NONE, "DROP TABLE users", ended=False)

    entry = kept(back=None, stuck=Pass((failed,), "no"), again=None)

    assert told(entry["back"]) == (["DROP TABLE users"], [], 7, False)
    assert entry["again"] is None


def test_what_was_not_played_is_told_apart_from_nothing_executed() -> None:
    empty = step("downgrade", NONE, NONE)

    assert kept(back=None)["back"] is None
    assert told(kept(back=empty)["back"]) == ([], [], 7, True)


def test_the_plans_own_statements_are_kept_before_those_of_a_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_STATEMENTS", 1)

    entry = kept()

    assert told(entry)[0] == ["CREATE TABLE users ()"]
    assert isinstance(entry["back"], dict)
    assert (entry["back"]["statements"], entry["back"]["more_statements"]) == ([], 1)
