"""The chaos can only find what its own judgement recognises: each kind of lie is recognised here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos import truth
from tests.chaos.projects import APART, STEP
from tests.chaos.truth import Effect

WAY = truth.Way(
    order=("r1", "r2", "r3"), parts={"r1": (STEP,), "r2": (STEP, APART), "r3": (STEP,)}, start="r1", result="r3"
)
RUN = 7
MARKS = {(RUN, "r2", "upgrade", STEP): 1, (RUN, "r2", "upgrade", APART): 1, (RUN, "r3", "upgrade", STEP): 1}
BEFORE = {(6, "r1", "upgrade", STEP): 1}


def found(**changes: Any) -> truth.Found:
    """A target on which run 7 has applied r2 and r3 upon r1."""
    applied = truth.Found(
        rows=("r3",),
        tables=frozenset({"table_r1", "table_r2", "table_r3"}),
        indexes=frozenset({"ix_r2"}),
        invalid=(),
        marks=BEFORE | MARKS,
        last_to_execute=RUN,
    )
    return replace(applied, **changes)


UNTOUCHED = found(rows=("r1",), tables=frozenset({"table_r1"}), indexes=frozenset(), marks=BEFORE, last_to_execute=6)


def test_all_of_a_run_is_there_and_verified_is_true() -> None:
    assert truth.effect(WAY, RUN, found()) is Effect.ALL
    assert truth.fault_in("verified", WAY, RUN, found()) == ""


def test_nothing_of_a_run_is_there_and_no_change_is_true() -> None:
    assert truth.effect(WAY, RUN, UNTOUCHED) is Effect.NONE
    assert truth.fault_in("no_change", WAY, RUN, UNTOUCHED) == ""


@pytest.mark.parametrize(
    "lacking",
    [
        {"tables": frozenset({"table_r1", "table_r2"})},
        {"indexes": frozenset()},
        {"invalid": ("chaos.ix_r2",)},
        {"rows": ("r2",)},
        {"rows": ("r2", "r3")},
        {"marks": BEFORE},
    ],
)
def test_verified_is_not_true_when_anything_lacks(lacking: dict[str, Any]) -> None:
    assert truth.effect(WAY, RUN, found(**lacking)) is Effect.PART
    assert "said verified, but part" in truth.fault_in("verified", WAY, RUN, found(**lacking))


@pytest.mark.parametrize("verdict", ["no_change", "cancelled", "refused", "void", "error", "partly_applied"])
def test_a_run_that_is_in_was_not_without_effect(verdict: str) -> None:
    assert f"said {verdict}, but all" in truth.fault_in(verdict, WAY, RUN, found())


def test_a_part_outside_the_transaction_is_not_no_change() -> None:
    part = replace(UNTOUCHED, marks=BEFORE | {(RUN, "r2", "upgrade", APART): 1})

    assert truth.fault_in("no_change", WAY, RUN, part)
    assert truth.fault_in("possibly_partly_applied", WAY, RUN, part) == ""


def test_a_step_that_one_run_executed_twice_is_twice() -> None:
    twice = found(marks=BEFORE | MARKS | {(RUN, "r2", "upgrade", APART): 2})

    assert truth.effect(WAY, RUN, twice) is Effect.TWICE
    assert "applied twice" in truth.fault_in("possibly_partly_applied", WAY, RUN, twice)


def test_a_step_that_two_runs_executed_is_twice() -> None:
    twice = found(marks=BEFORE | MARKS | {(6, "r2", "upgrade", APART): 1})

    assert truth.effect(WAY, RUN, twice) is Effect.TWICE


def test_a_refused_run_whose_revision_was_begun_is_a_lie_though_nothing_is_there() -> None:
    begun = replace(UNTOUCHED, last_to_execute=RUN)

    assert truth.fault_in("refused", WAY, RUN, UNTOUCHED) == ""
    assert "was begun" in truth.fault_in("refused", WAY, RUN, begun)


def test_a_verdict_that_nobody_knows_is_no_truth() -> None:
    assert truth.fault_in("outcome_unknown", WAY, RUN, UNTOUCHED)


def test_a_way_back_has_its_steps_and_leaves_what_was_before() -> None:
    back = replace(WAY, start="r3", result="")

    assert back.direction == "downgrade"
    assert back.steps == ("r1", "r2", "r3")
    assert back.tables_at(back.result) == frozenset()
