"""What the database itself refuses, whoever asks and with whatever code."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from migrations_audit import states
from migrations_audit.models import Environment, MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState
from tests.domain import raw
from tests.people import make_place, make_run, observe, read_back

pytestmark = pytest.mark.django_db

SET_STATE = "UPDATE migrations_audit_migrationrun SET state = %s WHERE number = %s"
SET_VERDICT = (
    "UPDATE migrations_audit_migrationrun SET state = %s, verdict = %s, verified_by_id = %s, phase = '' "
    "WHERE number = %s"
)


BREAK_GLASS = (
    "UPDATE migrations_audit_migrationrun SET state = %s, broke_glass_at = now(), broke_glass_by_id = requester_id, "
    "broke_glass_by_name = 'dev', broke_glass_why_now = 'Production is down since noon.', "
    "broke_glass_why_not = 'Nobody of the approvers answers.' WHERE number = %s"
)


def allowed(run: MigrationRun, to: RunState) -> bool:
    """Whether the database lets raw SQL move ``run`` to ``to``. The move is taken back."""
    is_unapproved_start = (run.state, to) == (RunState.AWAITING_APPROVAL.value, RunState.QUEUED)
    try:
        with transaction.atomic():
            raw.execute(BREAK_GLASS if is_unapproved_start else SET_STATE, to.value, run.number)
            transaction.set_rollback(True)
    except IntegrityError:
        return False
    return True


@pytest.mark.parametrize("state", list(RunState))
def test_the_database_allows_exactly_the_moves_of_the_table(state: RunState) -> None:
    run = make_run(make_place(), state="awaiting_approval")
    raw.put_in(run, state)
    run.refresh_from_db()

    moves = {to for to in RunState if to is not state and allowed(run, to)}

    assert moves == states.MOVES[state]


@pytest.mark.parametrize("state", [state for state in RunState if state is not RunState.REQUESTED])
def test_no_run_begins_in_another_state(state: RunState) -> None:
    run = make_run(make_place(), state="awaiting_approval")

    with raw.refused(match="a run begins as requested"):
        raw.execute(
            "INSERT INTO migrations_audit_migrationrun (target_id, operation, requested, requester_id, requester_name, reason, "
            "ticket, plan_id, state, verdict, phase, epoch, worker, sentence, reason_code, requested_at, queued_by_name, "
            "dispatch_count, cancel_requested_by, backup_reference) "
            "SELECT target_id, operation, requested, requester_id, requester_name, reason, ticket, NULL, %s, verdict, phase, 0, "
            "worker, sentence, reason_code, requested_at, queued_by_name, 0, '', '' "
            "FROM migrations_audit_migrationrun WHERE number = %s",
            state.value,
            run.number,
        )


@pytest.mark.parametrize(("column", "value"), [("verdict", "contradicted"), ("epoch", 1), ("plan", None)])
def test_no_run_begins_with_a_verdict_an_epoch_or_a_plan(column: str, value: object) -> None:
    run = make_run(make_place(), state="awaiting_approval")
    values = {"verified_by": run.plan and run.plan.base_observation, column: run.plan if column == "plan" else value}

    with raw.refused(match="a run begins as requested"):
        MigrationRun.objects.create(
            target=run.target, operation="upgrade", requested="head", requester=run.requester, requester_name="dev",
            reason="x", requested_at=database_now(), **values,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("operation", "rollback"),
        ("requested", "base"),
        ("requester_name", "somebody"),
        ("reason", "another"),
        ("ticket", "OPS-2"),
        ("requested_at", "2020-01-01T00:00:00Z"),
    ],
)
def test_what_was_requested_does_not_change(column: str, value: str) -> None:
    run = make_run(make_place(), state="awaiting_approval")

    with raw.refused(match="what was requested does not change"):
        raw.execute(f"UPDATE migrations_audit_migrationrun SET {column} = %s WHERE number = %s", value, run.number)


def test_requester_target_plan_and_what_it_rolls_back_do_not_change() -> None:
    place = make_place()
    run, other = make_run(place, state="awaiting_approval"), make_run(make_place(slug="staging", project=place.project))
    plan = raw.plan_beside(place)
    columns = {
        "requester_id": place.people["dba"].pk,
        "target_id": other.target_id,
        "plan_id": plan.pk,
        "rolls_back_id": other.number,
        "number": 999_999,
    }

    for column, value in columns.items():
        with raw.refused(match="what was requested does not change"):
            raw.execute(f"UPDATE migrations_audit_migrationrun SET {column} = %s WHERE number = %s", value, run.number)


def test_a_plan_is_not_taken_off_a_run_and_an_epoch_does_not_go_back() -> None:
    run = make_run(make_place(), state="awaiting_approval")

    for change in ("plan_id = NULL", "epoch = 0"):
        with raw.refused(match="what was requested does not change"):
            raw.execute(f"UPDATE migrations_audit_migrationrun SET {change} WHERE number = %s", run.number)


@pytest.mark.parametrize("state", sorted(states.TERMINAL))
@pytest.mark.parametrize("change", ["sentence = 'x'", "finished_at = now()", "verdict = 'contradicted'", "epoch = 9"])
def test_a_run_that_has_ended_does_not_change_any_more(state: RunState, change: str) -> None:
    run = make_run(make_place(), state="awaiting_approval")
    raw.put_in(run, state)

    with raw.refused(match=f"has ended as {state.value}"):
        raw.execute(f"UPDATE migrations_audit_migrationrun SET {change} WHERE number = %s", run.number)


def test_there_is_no_second_live_run_on_a_target() -> None:
    place = make_place()
    make_run(place, state="queued")
    second = make_run(place, state="approved", revision="003")

    with raw.refused(match="one_live_run_per_target"):
        raw.execute(SET_STATE, "queued", second.number)


@pytest.mark.parametrize("state", ["running", "outcome_unknown"])
def test_a_run_whose_outcome_is_not_known_blocks_its_target(state: str) -> None:
    place = make_place()
    raw.put_in(make_run(place, state="running"), RunState(state))
    second = make_run(place, state="approved", revision="003")

    with raw.refused(match="one_live_run_per_target"):
        raw.execute(SET_STATE, "queued", second.number)


def test_a_verdict_rests_on_an_observation() -> None:
    run = make_run(make_place(), state="running")

    for verdict in ("verified", "contradicted"):
        with raw.refused():
            raw.execute(SET_VERDICT, "failed", verdict, None, run.number)


def test_verified_needs_evidence() -> None:
    place = make_place()
    run = make_run(place, state="running")
    reading = read_back(place, run)

    with raw.refused(match="verified needs evidence"):
        raw.execute(SET_VERDICT, "applied", "verified", reading.pk, run.number)


@pytest.mark.parametrize("outcome", ["failed", "could_not_run"])
def test_verified_needs_evidence_of_which_none_failed(outcome: str) -> None:
    place = make_place()
    run = make_run(place, state="running")
    reading = read_back(place, run)
    raw.add_evidence(run, outcome="passed", observation=reading)
    raw.add_evidence(run, outcome=outcome, observation=reading)

    with raw.refused(match="verified needs evidence"):
        raw.execute(SET_VERDICT, "applied", "verified", reading.pk, run.number)


def test_verified_needs_evidence_that_rests_on_the_reading_that_it_names() -> None:
    place = make_place()
    run = make_run(place, state="running")
    earlier, later = read_back(place, run, revisions=["002"]), read_back(place, run)
    raw.add_evidence(run, outcome="passed", observation=earlier)

    with raw.refused(match="verified needs evidence"):
        raw.execute(SET_VERDICT, "applied", "verified", later.pk, run.number)


def test_verified_needs_a_reading_of_this_run() -> None:
    place = make_place()
    run = make_run(place, state="running")
    passing_by = observe(place, revisions=["003"])
    raw.add_evidence(run, outcome="passed", observation=passing_by)

    with raw.refused(match="verified needs evidence"):
        raw.execute(SET_VERDICT, "applied", "verified", passing_by.pk, run.number)


@pytest.mark.parametrize("state", [state for state in RunState if state is not RunState.APPLIED])
def test_no_other_state_than_applied_is_verified(state: RunState) -> None:
    place = make_place()
    run = make_run(place, state="running")
    reading = read_back(place, run)
    raw.add_evidence(run, outcome="passed", observation=reading)

    with raw.refused():
        raw.execute(SET_VERDICT, state.value, "verified", reading.pk, run.number)


def test_verified_is_accepted_with_all_that_it_needs() -> None:
    place = make_place()
    run = make_run(place, state="running")
    reading = read_back(place, run)
    raw.add_evidence(run, outcome="passed", observation=reading)

    assert raw.execute(SET_VERDICT, "applied", "verified", reading.pk, run.number) == 1


def test_an_earlier_reading_that_failed_does_not_forbid_a_later_verified() -> None:
    place = make_place()
    run = make_run(place, state="running")
    raw.add_evidence(run, outcome="failed", observation=read_back(place, run, revisions=["002"]))
    reading = read_back(place, run)
    raw.add_evidence(run, outcome="passed", observation=reading)

    assert raw.execute(SET_VERDICT, "applied", "verified", reading.pk, run.number) == 1


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING, RunState.APPLIED, RunState.APPROVED])
def test_no_run_gets_there_without_a_plan(state: RunState) -> None:
    run = make_run(make_place(), state="planning")

    with raw.refused(match="no_approval_without_a_plan"), raw.without_run_trigger():
        raw.execute(SET_STATE, state.value, run.number)


def test_a_run_is_not_deleted() -> None:
    run = make_run(make_place())

    with raw.refused(match="DELETE on migrations_audit_migrationrun is refused"):
        run.delete()


def test_production_needs_a_requirement() -> None:
    place = make_place()

    with raw.refused(match="production_needs_a_requirement"):
        Environment.objects.filter(pk=place.environment.pk).update(requirements=[])
