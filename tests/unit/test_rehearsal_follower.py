"""The runner's events of a pass, put together: which statement took which lock, wrote which table anew, and changed what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from migrations_audit.engine import redaction
from migrations_audit.engine.protocol import EventLines
from migrations_audit.engine.rehearsing import inspection
from migrations_audit.engine.rehearsing.inspection import Follower
from migrations_audit.engine.rehearsing.types import Lock, Pass

USERS = {"16400": "public.users"}
KNOWN = {"table public.users": "table"}


def event(name: str, **facts: Any) -> dict[str, Any]:
    return {"event": name, **facts}


def began(revision: str = "r1") -> dict[str, Any]:
    return event("step_started", position=1, revision=revision, direction="upgrade")


def ended(ms: int = 5) -> dict[str, Any]:
    return event("step_ended", position=1, revision="r1", direction="upgrade", ms=ms, statements=1)


def statement(text: str = "ALTER TABLE users ADD a int") -> list[dict[str, Any]]:
    started = event("statement_started", index=1, text=text, cut=0, values=False)
    return [started, event("statement_ended", index=1, ms=2, rowcount=-1)]


def inspected(of: str, sign: str, *rows: list[str], pieces: int = 1) -> list[dict[str, Any]]:
    packed = json.dumps(rows).encode().hex()
    size = -(-len(packed) // pieces)
    cut = [packed[begin : begin + size] for begin in range(0, len(packed), size)]
    return [event("inspected", of=of, sign=sign, packed=each, more=each is not cut[-1]) for each in cut]


def followed(*events: dict[str, Any], known: dict[str, str] | None = None) -> Pass:
    follower = Follower(KNOWN if known is None else known, USERS)
    for each in events:
        follower.event(each)
    return follower.finish()


def test_a_lock_belongs_to_the_statement_after_which_it_was_first_seen() -> None:
    found = followed(
        began(),
        *statement("SELECT 1"),
        *statement("ALTER TABLE users ADD a int"),
        *inspected("locks", "new", ["16400", "AccessExclusiveLock"]),
        ended(),
    )

    first, second = found.steps[0].statements
    assert (first.locks, second.locks) == ([], [Lock("AccessExclusiveLock", "public.users")])


def test_what_is_missing_of_the_statements_is_known() -> None:
    cut = event("statement_started", index=1, text="INSERT", cut=900, values=True)
    end = event("step_ended", position=1, revision="r1", direction="upgrade", ms=5, statements=7)

    (step,) = followed(began(), cut, end).steps

    assert (step.statements[0].cut, step.statements[0].values, step.untold) == (900, True, 6)


def test_a_relation_that_the_plan_makes_itself_locks_nobody_out() -> None:
    found = followed(began(), *statement(), *inspected("locks", "new", ["99999", "AccessExclusiveLock"]))

    assert found.steps[0].statements[0].locks == []


def test_a_dropped_relation_keeps_the_name_it_had() -> None:
    found = followed(
        began(),
        *statement("DROP TABLE users"),
        *inspected("relations", "gone", ["16400", "public.users", "r", "16400"]),
        *inspected("locks", "new", ["16400", "AccessExclusiveLock"]),
    )

    assert found.steps[0].statements[0].locks == [Lock("AccessExclusiveLock", "public.users")]
    assert found.steps[0].statements[0].rewrites == []


def moved(name: str = "public.users", file: str = "16500", kind: str = "r") -> list[dict[str, Any]]:
    return [
        *inspected("relations", "gone", ["16400", "public.users", kind, "16400"]),
        *inspected("relations", "new", ["16400", name, kind, file]),
    ]


def test_a_new_file_is_a_rewrite() -> None:
    found = followed(began(), *statement("ALTER TABLE users ALTER id TYPE bigint"), *moved())

    assert found.steps[0].statements[0].rewrites == ["public.users"]


def test_a_renamed_table_has_its_file_still() -> None:
    found = followed(began(), *statement(), *moved(name="public.people", file="16400"))

    assert found.steps[0].statements[0].rewrites == []


def test_a_table_that_was_renamed_and_rewritten_is_told_by_the_name_that_others_know() -> None:
    found = followed(began(), *statement(), *moved(name="public.people"))

    assert found.steps[0].statements[0].rewrites == ["public.users"]


@pytest.mark.parametrize("text", ["TRUNCATE users", "-- all of it\ntruncate table users"])
def test_a_truncate_gives_a_new_file_and_is_no_rewrite(text: str) -> None:
    assert followed(began(), *statement(text), *moved()).steps[0].statements[0].rewrites == []


def test_a_rebuilt_index_is_no_rewritten_table() -> None:
    assert followed(began(), *statement("REINDEX INDEX i"), *moved(kind="i")).steps[0].statements[0].rewrites == []


def test_a_step_keeps_the_catalog_before_and_after_it() -> None:
    (step,) = followed(
        began(), *statement(), *inspected("catalog", "new", ["column public.users.a", "integer"]), ended()
    ).steps

    assert step.before == KNOWN
    assert step.after == {**KNOWN, "column public.users.a": "integer"}
    assert [str(change) for change in step.changes] == ["+ column public.users.a"]


def test_a_changed_definition_is_gone_and_new() -> None:
    (step,) = followed(
        began(),
        *inspected("catalog", "gone", ["table public.users", "table"]),
        *inspected("catalog", "new", ["table public.users", "unlogged table"]),
        ended(),
    ).steps

    assert [(change.sign, change.before, change.after) for change in step.changes] == [("~", "table", "unlogged table")]


def test_the_next_step_begins_where_the_last_one_ended() -> None:
    found = followed(
        began("r1"), *inspected("catalog", "new", ["table public.b", "table"]), ended(), began("r2"), ended()
    )

    assert found.steps[1].before == found.steps[0].after
    assert found.steps[1].changes == ()


@pytest.mark.parametrize("pieces", [2, 7])
def test_rows_that_come_in_pieces_are_put_together(pieces: int) -> None:
    definition = "CREATE VIEW " + "x" * 5_000

    (step,) = followed(
        began(), *inspected("catalog", "new", ["view public.v", definition], pieces=pieces), ended()
    ).steps

    assert step.after["view public.v"] == definition


def test_a_definition_comes_through_the_runners_pipe_as_it_is() -> None:
    hostile = "CHECK (password = 'secret' AND note <> E'\\u202e')"
    (line,) = inspected("catalog", "new", ["constraint public.users.c", hostile])
    lines = EventLines(redaction.Redactor(["hunter22"]).text)

    (read,) = lines.feed(json.dumps(line).encode() + b"\n")

    (step,) = followed(began(), read, ended()).steps
    assert step.after["constraint public.users.c"] == hostile


def test_more_than_a_rehearsal_takes_down_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_TOLD", 1_000)

    found = followed(began(), *inspected("catalog", "new", ["table public.t", "x" * 2_000]), ended())

    assert found.uninspected == "More changed than a rehearsal can take down."


def test_a_statement_that_fails_is_marked_and_the_pass_says_why() -> None:
    found = followed(
        began(),
        event("statement_started", index=1, text="SELECT 1/0", cut=0, values=False),
        event("statement_failed", type="DivisionByZero", sqlstate="22012", message="division by zero", statement=""),
        event("error", revision="r1", type="DivisionByZero", sqlstate="22012", message="division by zero", where=""),
    )

    assert found.steps[0].statements[0].failed
    assert (found.steps[0].ended, found.came_to_its_end) == (False, False)
    assert (found.problem, found.code, found.sqlstate) == ("division by zero", "error", "22012")


def test_a_hostile_code_is_cut_to_what_is_stored() -> None:
    found = followed(event("refused", code="x" * 5_000, message="no"))

    assert len(found.code) == 40


def test_how_the_process_ended_counts_only_when_it_did_not_say_so_itself() -> None:
    silent, told = Follower(KNOWN, USERS), Follower(KNOWN, USERS)
    told.event(event("error", revision="r1", type="X", sqlstate="", message="its own words", where=""))

    assert silent.finish("too_long", "It took too long.").problem == "It took too long."
    assert silent.finish("too_long", "It took too long.").code == "too_long"
    assert told.finish("runner_ended", "The runner ended with code 1.").problem == "its own words"


def test_statements_in_an_autocommit_block_are_marked() -> None:
    found = followed(
        began(),
        *statement("a"),
        event("autocommit_entered"),
        *statement("b"),
        event("autocommit_left"),
        *statement("c"),
    )

    assert [each.in_autocommit for each in found.steps[0].statements] == [False, True, False]
    assert found.steps[0].autocommit_blocks == 1


def test_from_where_nobody_looked_any_more_each_statement_says_so() -> None:
    found = followed(began(), *statement("a"), *statement("b"), event("looks_ended"), *statement("c"))

    assert [each.unseen for each in found.steps[0].statements] == [False, True, True]


def test_a_question_that_could_not_be_asked_is_told() -> None:
    found = followed(began(), event("not_inspected", type="X", sqlstate="25P02", message="aborted"), ended())

    assert found.uninspected == "aborted"
    assert found.came_to_its_end


def test_what_happens_outside_any_step_is_no_statement_of_one() -> None:
    found = followed(*statement("SET x = 1"), *inspected("locks", "new", ["16400", "AccessShareLock"]), began())

    assert found.steps[0].statements == []
