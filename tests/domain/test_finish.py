"""The end of an attempt: evidence, verdict and state in one transaction; and the log and steps on the way there."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit.actions import attempts, runs
from migrations_audit.judgement import Judgement, judge
from migrations_audit.models import LogLine, MigrationRun
from migrations_audit.states import Phase, RunState, StepState, Verdict
from tests.domain import trail
from tests.people import WORKER, evidence_of, finish, make_facts, make_place, make_run, make_witness, read_back

pytestmark = pytest.mark.django_db


def judged(facts: dict[str, Any] | None = None, witness: dict[str, Any] | None = None) -> Judgement:
    return judge(make_facts(**(facts or {})), make_witness(**(witness or {})))


def unread(code: str = "not_read_back") -> Judgement:
    return Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, code, "It could not be read back.")


def test_a_verified_run_names_the_reading_that_it_rests_on() -> None:
    place = make_place()
    run = make_run(place, state="running")
    reading = read_back(place, run)

    finish(place, run, observation=reading)

    run.refresh_from_db()
    assert (run.state, run.verdict, run.verified_by, run.phase) == ("applied", "verified", reading, "")
    assert run.finished_at is not None
    assert run.lease_expires_at is None
    assert {item.observation for item in run.evidence.all()} == {reading}


def test_a_verified_run_leaves_an_event_with_its_checks() -> None:
    place = make_place()
    run = make_run(place, state="running")
    reading = read_back(place, run)

    finish(place, run, observation=reading)

    facts = trail.last("run.applied").facts["facts"]
    assert (facts["verdict"], facts["observation"]) == ("verified", reading.pk)
    assert {"check": "revision rows", "outcome": "passed"} in facts["checks"]


def test_an_exit_code_0_without_effect_is_stored_as_contradicted() -> None:
    place = make_place()
    run = make_run(place, state="running")

    finish(
        place,
        run,
        judgement=judged({"rows": ("002",), "changes": ()}),
        observation=read_back(place, run, revisions=["002"]),
    )

    run.refresh_from_db()
    assert (run.state, run.verdict, run.reason_code) == ("failed", "contradicted", "no_effect")
    assert run.sentence.startswith("Alembic reported no error, but market/production/main is still at 002.")


def test_a_cancelled_run_has_no_verdict() -> None:
    place = make_place()
    run = make_run(place, state="running")
    judgement = judged({"rows": ("002",), "changes": ()}, {"cancel_requested": True, "exit_code": 1})

    finish(place, run, judgement=judgement, observation=read_back(place, run, revisions=["002"]))

    run.refresh_from_db()
    assert (run.state, run.verdict, run.verified_by) == ("cancelled", "unverified", None)
    assert trail.of_run(run)[-1] == "run.cancelled"


def test_a_run_ends_once() -> None:
    place = make_place()
    run = make_run(place, state="running")
    finish(place, run)
    before = len(evidence_of(run.number))

    with pytest.raises(attempts.LostLease, match="it is applied"):
        finish(place, run)

    assert len(evidence_of(run.number)) == before


def test_an_unknown_outcome_keeps_the_target_blocked_and_asks_for_a_reconciliation() -> None:
    place = make_place()
    run = make_run(place, state="running")
    second = make_run(place, state="approved", revision="003")

    attempts.finish(actor=WORKER, number=run.number, epoch=run.epoch, judgement=unread(), observation=None)

    run.refresh_from_db()
    assert (run.state, run.phase, run.finished_at, run.lease_expires_at) == ("outcome_unknown", "preflight", None, None)
    assert run.reconcile_after_at is not None
    assert second.plan is not None
    with pytest.raises(runs.TargetBusy, match="is outcome unknown"):
        runs.start(
            actor=place.actor("operator"), number=second.number, digest=second.plan.digest, confirm=place.target.label
        )


def test_a_run_of_another_epoch_is_not_ended() -> None:
    place = make_place()
    run = make_run(place, state="running")
    run.epoch -= 1

    with pytest.raises(attempts.LostLease, match="no longer held in epoch"):
        finish(place, run)

    assert evidence_of(run.number) == []


def test_a_wrong_database_first_and_the_right_one_later_ends_as_verified() -> None:
    place = make_place()
    run = make_run(place, state="running")
    other = judged({"identity_differences": ("The system identifier is 8, enrolled is 7.",)})
    finish(place, run, judgement=other, observation=read_back(place, run, revisions=["001"]))
    MigrationRun.objects.filter(number=run.number).update(reconcile_after_at=None)
    again = attempts.take_over(actor=WORKER, number=run.number)

    finish(place, again, judgement=judged({}, {"by_reconciliation": True}))

    run.refresh_from_db()
    assert (run.state, run.verdict) == ("applied", "verified")


def test_phases_follow_each_other_and_leave_events() -> None:
    run = make_run(make_place(), state="running")

    for phase in (Phase.LOCK, Phase.EXECUTE, Phase.VERIFY):
        attempts.enter_phase(actor=WORKER, number=run.number, epoch=run.epoch, phase=phase, sentence=f"{phase}.")

    run.refresh_from_db()
    assert (run.phase, run.sentence) == ("verify", "verify.")
    assert trail.of_run(run).count("run.phase_entered") == 3


def test_a_phase_of_a_lost_epoch_or_an_ended_run_is_refused() -> None:
    place = make_place()
    run = make_run(place, state="running")

    with pytest.raises(attempts.LostLease):
        attempts.enter_phase(actor=WORKER, number=run.number, epoch=run.epoch - 1, phase=Phase.LOCK, sentence="x")
    finish(place, run)
    with pytest.raises(attempts.LostLease):
        attempts.enter_phase(actor=WORKER, number=run.number, epoch=run.epoch, phase=Phase.LOCK, sentence="x")


def test_log_lines_are_numbered_without_a_gap() -> None:
    run = make_run(make_place(), state="running")

    attempts.append_log(
        number=run.number, epoch=run.epoch, lines=[attempts.Line("portal", "a"), attempts.Line("step", "b", 5)]
    )
    attempts.append_log(number=run.number, epoch=run.epoch, lines=[attempts.Line("stdout", "c")])

    lines = LogLine.objects.filter(run=run)
    assert [(line.seq, line.text, line.duration_ms) for line in lines] == [(1, "a", None), (2, "b", 5), (3, "c", None)]


def test_a_lost_worker_and_an_ended_run_write_nothing_more() -> None:
    place = make_place()
    run = make_run(place, state="running")
    lines = [attempts.Line("portal", "late")]

    with pytest.raises(attempts.LostLease):
        attempts.append_log(number=run.number, epoch=run.epoch - 1, lines=lines)
    with pytest.raises(attempts.LostLease):
        attempts.update_step(number=run.number, epoch=run.epoch - 1, position=1, state=StepState.FAILED)
    finish(place, run)
    with pytest.raises(attempts.LostLease):
        attempts.append_log(number=run.number, epoch=run.epoch, lines=lines)
    with pytest.raises(attempts.LostLease):
        attempts.update_step(number=run.number, epoch=run.epoch, position=1, state=StepState.FAILED)

    assert not LogLine.objects.filter(run=run).exists()
    assert [step.state for step in run.steps.all()] == ["waiting"]


def test_a_step_is_told_as_the_hooks_told_it() -> None:
    run = make_run(make_place(), state="running")

    attempts.update_step(
        number=run.number, epoch=run.epoch, position=1, state=StepState.ENDED, statements=4, duration_ms=12
    )

    step = MigrationRun.objects.get(number=run.number).steps.get()
    assert (step.state, step.statements, step.duration_ms) == ("ended", 4, 12)


def test_of_a_very_long_difference_the_first_lines_are_kept_and_how_many_follow() -> None:
    place = make_place()
    run = make_run(place, state="running")
    changes = tuple(f"+ table public.t{number}: table" for number in range(700))

    finish(place, run, judgement=judged({"changes": changes}), observation=read_back(place, run))

    check = run.evidence.get(check_name="catalog difference")
    assert check.observed == "700 objects"
    assert (len(check.detail), check.detail[-1]) == (501, "and 200 more")
