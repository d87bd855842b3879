"""The table of legal moves."""

from __future__ import annotations

import pytest

from migrations_audit import states
from migrations_audit.models import runs as models
from migrations_audit.states import Isolation, RunState


def test_every_state_has_a_line_in_the_table() -> None:
    assert set(states.MOVES) == set(RunState)


def test_no_state_moves_to_itself() -> None:
    assert not [state for state, targets in states.MOVES.items() if state in targets]


def test_every_state_but_the_first_can_be_reached() -> None:
    reached, frontier = {RunState.REQUESTED}, {RunState.REQUESTED}
    while frontier:
        frontier = {after for state in frontier for after in states.MOVES[state]} - reached
        reached |= frontier

    assert reached == set(RunState)


def test_from_every_open_state_a_run_can_end() -> None:
    ends = set(states.TERMINAL)
    while grown := {state for state, targets in states.MOVES.items() if targets & ends} - ends:
        ends |= grown

    assert ends == set(RunState)


def test_the_terminal_states_are_the_ones_that_the_design_names() -> None:
    assert {state.value for state in states.TERMINAL} == {
        "plan_failed", "rejected", "withdrawn", "expired", "void", "refused", "applied", "failed", "error", "cancelled",
        "closed",
    }  # fmt: skip


def test_a_live_run_is_open_and_an_ended_one_is_not_live() -> None:
    assert states.LIVE <= states.OPEN
    assert not states.LIVE & states.TERMINAL
    assert set(RunState) == states.OPEN | states.TERMINAL


def test_only_a_claim_leads_to_running_and_only_a_run_leads_to_an_unknown_outcome() -> None:
    assert states.sources(RunState.RUNNING) == {RunState.QUEUED}
    assert states.sources(RunState.OUTCOME_UNKNOWN) == {RunState.RUNNING}


@pytest.mark.parametrize("state", list(RunState))
def test_sources_is_the_table_read_backwards(state: RunState) -> None:
    assert states.sources(state) == {before for before in RunState if state in states.MOVES[before]}


def test_a_run_of_unknown_outcome_never_becomes_runnable_again() -> None:
    assert states.MOVES[RunState.OUTCOME_UNKNOWN] <= states.TERMINAL


@pytest.mark.parametrize(
    ("enum", "choices"),
    [
        (RunState, models.StateChoice),
        (states.Phase, models.PhaseChoice),
        (states.Verdict, models.VerdictChoice),
        (states.StepState, models.StepStateChoice),
    ],
)
def test_the_models_know_the_same_words(enum: type[RunState], choices: type[models.StateChoice]) -> None:
    assert {word.value for word in enum} == set(choices.values)


def test_there_is_no_outcome_called_skipped() -> None:
    assert {outcome.value for outcome in states.Outcome} == {"passed", "warning", "failed", "could_not_run"}


def test_a_level_of_isolation_covers_itself_and_the_weaker_ones() -> None:
    assert [level.value for level in Isolation if Isolation.SEPARATE_USER.covers(level)] == [
        "none",
        "non_dumpable",
        "separate_user",
    ]
    assert Isolation.NONE.covers("")
    assert not Isolation.NON_DUMPABLE.covers("bubblewrap")
