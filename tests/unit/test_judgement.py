"""From what was read to what may be said: every row of the table of outcomes, and what must hold for all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit import states
from migrations_audit.judgement import Facts, Judgement, Witness, judge, rows_text
from migrations_audit.states import Outcome, RunState, Verdict
from tests.people import make_facts, make_witness

AT_START: dict[str, Any] = {"rows": ("002",), "changes": ()}
LOST: dict[str, Any] = {"by_reconciliation": True, "exit_code": None, "commit_after_version": None, "steps_ended": 0}
LONG = {"result": ("005",), "steps": ("003", "004", "005")}


def judged(facts: dict[str, Any] | None = None, witness: dict[str, Any] | None = None) -> Judgement:
    return judge(make_facts(**(facts or {})), make_witness(**(witness or {})))


def said(judgement: Judgement) -> tuple[RunState, Verdict, str]:
    return judgement.state, judgement.verdict, judgement.code


# One row each: name, facts, witness, expected (state, verdict, code).
RECONCILED = [
    (
        "before execute, at the start, catalog the same, whatever the revisions are",
        AT_START | {"all_transactional": False},
        LOST | {"touched": False},
        (RunState.FAILED, Verdict.UNVERIFIED, "no_change"),
    ),
    (
        "execute, at the result, objects present, no invalid index",
        {},
        LOST,
        (RunState.APPLIED, Verdict.VERIFIED, "verified"),
    ),
    (
        "execute, at the result, an invalid index",
        {"new_invalid_indexes": ("public.ix_users_email",)},
        LOST,
        (RunState.FAILED, Verdict.CONTRADICTED, "contradicted"),
    ),
    (
        "execute, between start and result",
        LONG | {"rows": ("004",)},
        LOST,
        (RunState.FAILED, Verdict.CONTRADICTED, "partly_applied"),
    ),
    (
        "execute, at the start, catalog the same, transactional",
        AT_START,
        LOST,
        (RunState.FAILED, Verdict.UNVERIFIED, "no_change"),
    ),
    (
        "execute, at the start, catalog the same, not transactional",
        AT_START | {"all_transactional": False},
        LOST,
        (RunState.FAILED, Verdict.UNVERIFIED, "possibly_partly_applied"),
    ),
    (
        "execute, at the start, catalog different",
        AT_START | {"changes": ("table public.half added",)},
        LOST,
        (RunState.FAILED, Verdict.CONTRADICTED, "partly_applied"),
    ),
    (
        "an unknown revision",
        {"rows": ("deadbeef",)},
        LOST,
        (RunState.FAILED, Verdict.CONTRADICTED, "unexpected_rows"),
    ),
    (
        "a missing version table",
        {"rows": None},
        LOST,
        (RunState.FAILED, Verdict.CONTRADICTED, "unexpected_rows"),
    ),
    (
        "another database",
        {"identity_differences": ("The system identifier is 8, enrolled is 7.",)},
        LOST,
        (RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "wrong_database"),
    ),
]


@pytest.mark.parametrize(
    ("facts", "witness", "expected"), [row[1:] for row in RECONCILED], ids=[row[0] for row in RECONCILED]
)
def test_reconciliation_says(
    facts: dict[str, Any], witness: dict[str, Any], expected: tuple[RunState, Verdict, str]
) -> None:
    assert said(judged(facts, witness)) == expected


ENDED = [
    ("it did what it should", {}, {}, (RunState.APPLIED, Verdict.VERIFIED, "verified")),
    ("exit 0 without effect", AT_START, {"steps_ended": 1}, (RunState.FAILED, Verdict.CONTRADICTED, "no_effect")),
    ("exit 0 without a connection", AT_START, {"connected": False}, (RunState.FAILED, Verdict.CONTRADICTED, "no_effect")),
    ("an error, rolled back", AT_START, {"exit_code": 1, "error": "Boom."}, (RunState.FAILED, Verdict.UNVERIFIED, "no_change")),
    (
        "an error in a revision that is not transactional",
        AT_START | {"all_transactional": False},
        {"exit_code": 1},
        (RunState.FAILED, Verdict.UNVERIFIED, "possibly_partly_applied"),
    ),
    (
        "cancelled before any commit",
        AT_START,
        {"cancel_requested": True, "exit_code": 1, "ended_by": "cancel"},
        (RunState.CANCELLED, Verdict.UNVERIFIED, "cancelled"),
    ),
    (
        "cancelled in a revision that is not transactional",
        AT_START | {"all_transactional": False},
        {"cancel_requested": True, "ended_by": "cancel"},
        (RunState.FAILED, Verdict.UNVERIFIED, "possibly_partly_applied"),
    ),
    ("a cancel that lost", {}, {"cancel_requested": True}, (RunState.APPLIED, Verdict.VERIFIED, "verified")),
    (
        "a cancel that lost, its runner killed after the commit",
        {},
        {
            "cancel_requested": True, "ended_by": "cancel (signal 9)", "exit_code": None, "steps_ended": 0,
            "commit_after_version": None,
        },
        (RunState.APPLIED, Verdict.VERIFIED, "verified"),
    ),
    (
        "a deadline after the commit",
        {},
        {"ended_by": "deadline (signal 15)", "exit_code": None, "commit_after_version": None},
        (RunState.APPLIED, Verdict.VERIFIED, "verified"),
    ),
    (
        "the runner refused before it sent anything",
        AT_START,
        {"refusal": "lock_busy", "error": "The run lock is held.", "exit_code": 3, "touched": False},
        (RunState.REFUSED, Verdict.UNVERIFIED, "lock_busy"),
    ),
    (
        "the runner refused a start that somebody else had moved",
        {"rows": ("003",)},
        {"refusal": "start_changed", "error": "It is at 003.", "exit_code": 3, "touched": False, "steps_ended": 0},
        (RunState.REFUSED, Verdict.UNVERIFIED, "start_changed"),
    ),
    (
        "the runner refused, and somebody else changed the catalog",
        AT_START | {"changes": ("table public.other added",)},
        {"refusal": "lock_busy", "error": "The run lock is held.", "exit_code": 3, "touched": False},
        (RunState.REFUSED, Verdict.UNVERIFIED, "lock_busy"),
    ),
    (
        "the runner refused a second connection in the middle",
        AT_START | {"all_transactional": False},
        {"refusal": "wrong_database", "error": "It asked for another database.", "exit_code": 3},
        (RunState.FAILED, Verdict.UNVERIFIED, "possibly_partly_applied"),
    ),
    ("a step is missing", {}, {"steps_ended": 0}, (RunState.FAILED, Verdict.CONTRADICTED, "contradicted")),
    ("no commit was seen", {}, {"commit_after_version": False}, (RunState.FAILED, Verdict.CONTRADICTED, "contradicted")),
    (
        "the runner refused a second connection after a revision was begun",
        AT_START,
        {"refusal": "lock_busy", "error": "The run lock is held.", "exit_code": 3, "steps_ended": 0, "begun": True},
        (RunState.FAILED, Verdict.UNVERIFIED, "no_change"),
    ),
    (
        "a cancel ended a revision that was begun, and env.py connected again",
        AT_START,
        {"refusal": "not_checked", "exit_code": 3, "steps_ended": 0, "begun": True, "cancel_requested": True},
        (RunState.CANCELLED, Verdict.UNVERIFIED, "cancelled"),
    ),
    (
        "a prepared transaction stands there, which may be the application's",
        {"prepared_transactions": ("half-done",)},
        {},
        (RunState.APPLIED, Verdict.VERIFIED, "verified"),
    ),
    (
        "nothing was sent and somebody else brought it there",
        {},
        {"touched": False, "steps_ended": 0, "by_reconciliation": True},
        (RunState.ERROR, Verdict.UNVERIFIED, "nothing_sent"),
    ),
    (
        "what was sent was rolled back, then a cancel came, and somebody else brought it there",
        {},
        {
            "touched": False, "begun": True, "steps_ended": 0, "ended_by": "cancel", "cancel_requested": True,
            "exit_code": 1, "commit_after_version": None,
        },
        (RunState.ERROR, Verdict.UNVERIFIED, "nothing_sent"),
    ),
    (
        "what was sent was rolled back, and the next attempt was refused",
        AT_START,
        {"refusal": "lock_busy", "exit_code": 3, "touched": False, "begun": True, "steps_ended": 0},
        (RunState.FAILED, Verdict.UNVERIFIED, "no_change"),
    ),
    (
        "every table that the SQL makes is absent",
        {"promised_tables": 2, "broken_promises": ("table a is absent", "table b is absent")},
        {},
        (RunState.FAILED, Verdict.CONTRADICTED, "contradicted"),
    ),
    (
        "one of the tables that the SQL makes is not found",
        {"promised_tables": 2, "broken_promises": ("table a is absent",)},
        {},
        (RunState.APPLIED, Verdict.VERIFIED, "verified"),
    ),
    (
        "two heads where one was planned",
        {"rows": ("003", "004b")},
        {},
        (RunState.FAILED, Verdict.CONTRADICTED, "unexpected_rows"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "witness", "expected"), [row[1:] for row in ENDED], ids=[row[0] for row in ENDED])
def test_after_a_runner_that_ended(
    facts: dict[str, Any], witness: dict[str, Any], expected: tuple[RunState, Verdict, str]
) -> None:
    assert said(judged(facts, witness)) == expected


def test_exit_code_0_without_effect_is_contradicted_in_words() -> None:
    judgement = judged(AT_START)

    assert judgement.sentence.startswith("Alembic reported no error, but market/production/main is still at 002.")


def test_a_cancel_that_lost_is_told() -> None:
    assert judged({}, {"cancel_requested": True}).sentence.endswith("The cancel came too late: it had committed.")


def test_a_deadline_is_told_also_when_a_signal_ended_it() -> None:
    stopped = judged(AT_START, {"ended_by": "deadline (signal 15)", "exit_code": None})

    assert stopped.sentence.endswith("The run was stopped at its deadline.")


def test_an_error_after_the_commit_is_told_beside_the_verdict() -> None:
    judgement = judged({}, {"exit_code": 1, "error": "ConnectionResetError: reset by peer"})

    assert judgement.verdict is Verdict.VERIFIED
    assert judgement.sentence.endswith("Alembic ended with an error afterwards. ConnectionResetError: reset by peer")


def test_what_is_in_no_step_is_not_called_between() -> None:
    judgement = judged({"rows": ("deadbeef",)})

    assert "between" not in judgement.sentence
    assert "deadbeef" in judgement.sentence


def test_a_rollback_to_base_ends_with_an_empty_version_table() -> None:
    back = {"start": ("001",), "result": (), "steps": ("001",), "rows": ()}

    assert said(judged(back)) == (RunState.APPLIED, Verdict.VERIFIED, "verified")


def test_an_emptied_version_table_is_not_the_result_of_an_upgrade() -> None:
    assert said(judged({"rows": ()})) == (RunState.FAILED, Verdict.CONTRADICTED, "unexpected_rows")


def test_an_unknown_catalog_before_is_not_called_unchanged() -> None:
    for facts in (AT_START, AT_START | {"all_transactional": False}):
        assert "catalog is unchanged" not in judged(facts | {"catalog_known_before": False}, LOST).sentence


def test_a_catalog_that_somebody_else_changed_is_not_called_unchanged() -> None:
    judgement = judged(AT_START | {"changes": ("table public.other added",)}, LOST | {"touched": False})

    assert judgement.state is RunState.FAILED
    assert "catalog is unchanged" not in judgement.sentence
    assert "Partly applied" not in judgement.sentence


def test_a_verified_run_that_changed_nothing_in_the_catalog_carries_a_warning() -> None:
    outcomes = {check.name: check.outcome for check in judged({"changes": ()}).checks}

    assert outcomes["catalog difference"] is Outcome.WARNING


def test_a_catalog_unlike_the_one_seen_before_at_this_revision_carries_a_warning() -> None:
    checks = judged({"fingerprint": "a" * 64, "fingerprint_seen_at_result": "b" * 64}).checks

    assert [check.outcome for check in checks if check.name == "catalog as last seen at this revision"] == [
        Outcome.WARNING
    ]


def test_rows_in_words() -> None:
    assert [rows_text(rows) for rows in (None, (), ("002",), ("a", "b"))] == [
        "base (no version table)", "base (empty version table)", "002", "a, b"
    ]  # fmt: skip


often = settings(max_examples=300, deadline=None)
revisions = st.sampled_from(["001", "002", "003", "004", "zzz"])
rows = st.lists(revisions, max_size=3).map(tuple)
names = st.lists(st.sampled_from(["x", "y"]), max_size=1).map(tuple)


def rolled_back(**facts: Any) -> tuple[str, Outcome, str]:
    """The verdict, the line of evidence, and the sentence of a rollback of run 7."""
    judgement = judged({"rolls_back": "run 7", **facts})
    (check,) = [each for each in judgement.checks if each.name == "as before the run that is rolled back"]
    return judgement.verdict, check.outcome, judgement.sentence


LEFT = ("column public.users.note is still there",)


def test_a_rollback_that_does_not_bring_all_back_is_contradicted_by_name() -> None:
    verdict, outcome, sentence = rolled_back(not_as_before=LEFT)

    assert (verdict, outcome) == (Verdict.CONTRADICTED, Outcome.FAILED)
    assert sentence.endswith("observed column public.users.note is still there.")


def test_what_a_rehearsal_showed_a_rollback_to_leave_is_told_in_the_verdict() -> None:
    verdict, outcome, sentence = rolled_back(not_as_before=LEFT, rehearsal="rehearsal 3")

    assert (verdict, outcome) == (Verdict.VERIFIED, Outcome.WARNING)
    assert sentence.endswith("As rehearsed, not all is as before run 7: column public.users.note is still there.")


def test_a_rollback_that_could_not_be_compared_says_why_in_the_verdict() -> None:
    verdict, outcome, sentence = rolled_back(before_not_known="no catalog was read before run 7")

    assert (verdict, outcome) == (Verdict.VERIFIED, Outcome.WARNING)
    assert sentence.endswith("Whether all is as before run 7 could not be compared: no catalog was read before run 7.")


def test_a_rollback_that_brought_all_back_says_no_more_than_others() -> None:
    assert rolled_back()[:2] == (Verdict.VERIFIED, Outcome.PASSED)
    assert "run 7" not in judged({"rolls_back": "run 7"}).sentence


@st.composite
def readings(draw: st.DrawFn) -> Facts:
    start, result = draw(rows), draw(rows)
    return Facts(
        target="market/production/main",
        start=start,
        result=result,
        steps=draw(rows),
        all_transactional=draw(st.booleans()),
        rows=draw(st.sampled_from([None, start, result, result, draw(rows)])),
        identity_differences=draw(st.sampled_from([(), (), (), ("x",)])),
        changes=draw(names),
        new_invalid_indexes=draw(st.sampled_from([(), (), (), ("x",)])),
        prepared_transactions=draw(st.sampled_from([(), (), (), ("x",)])),
        catalog_known_before=draw(st.booleans()),
        fingerprint=draw(st.sampled_from(["", "f" * 64])),
        fingerprint_seen_at_result=draw(st.sampled_from(["", "f" * 64, "e" * 64])),
    )


any_witness = st.builds(
    Witness,
    exit_code=st.sampled_from([None, 0, 1, 3, 137]),
    ended_by=st.sampled_from(["", "itself", "itself (signal 9)", "deadline", "cancel", "lost_lease", "protocol"]),
    refusal=st.sampled_from(["", "lock_busy"]),
    error=st.sampled_from(["", "Boom."]),
    steps_ended=st.integers(0, 3),
    connected=st.booleans(),
    commit_after_version=st.sampled_from([None, True, False]),
    cancel_requested=st.booleans(),
    by_reconciliation=st.booleans(),
    touched=st.booleans(),
    begun=st.booleans(),
)


@often
@given(readings(), any_witness)
def test_verified_needs_the_exact_rows_the_right_database_and_no_failed_check(facts: Facts, witness: Witness) -> None:
    judgement = judge(facts, witness)

    if judgement.verdict is Verdict.VERIFIED:
        assert sorted(facts.rows or ()) == sorted(facts.result)
        assert not [*facts.identity_differences, *facts.new_invalid_indexes]
        assert witness.touched
        assert not [item for item in judgement.checks if item.outcome in (Outcome.FAILED, Outcome.COULD_NOT_RUN)]
        assert [item for item in judgement.checks if item.outcome is Outcome.PASSED]


@often
@given(readings(), any_witness)
def test_applied_and_verified_are_the_same(facts: Facts, witness: Witness) -> None:
    judgement = judge(facts, witness)

    assert (judgement.state is RunState.APPLIED) == (judgement.verdict is Verdict.VERIFIED)


@often
@given(readings(), any_witness)
def test_every_judgement_is_a_legal_end_with_one_whole_sentence(facts: Facts, witness: Witness) -> None:
    judgement = judge(facts, witness)

    reachable = states.MOVES[RunState.RUNNING]
    if witness.by_reconciliation and not witness.refusal:
        reachable = states.MOVES[RunState.OUTCOME_UNKNOWN] | {RunState.OUTCOME_UNKNOWN}
    assert judgement.state in reachable
    assert judgement.sentence.endswith(".")
    assert judgement.sentence == judgement.sentence.strip()
    assert "  " not in judgement.sentence
    assert judgement.checks


@often
@given(readings(), any_witness)
def test_cancelled_is_never_said_of_a_target_that_left_its_start(facts: Facts, witness: Witness) -> None:
    judgement = judge(facts, witness)

    if judgement.state in (RunState.CANCELLED, RunState.REFUSED) and witness.touched:
        assert sorted(facts.rows or ()) == sorted(facts.start)
        assert not (facts.changes and facts.catalog_known_before)


@often
@given(readings(), any_witness)
def test_the_same_facts_always_give_the_same_judgement(facts: Facts, witness: Witness) -> None:
    assert judge(facts, witness) == judge(facts, witness)
