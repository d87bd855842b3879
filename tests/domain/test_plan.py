"""Planning as its worker drives it: taking a run up, recording the plan, or why there is none."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import moves, plans, runs
from migrations_audit.models import MigrationRun, Plan, Project
from migrations_audit.models.clock import database_now
from tests.domain import trail
from tests.people import WORKER, Place, make_draft, make_place, make_run

pytestmark = pytest.mark.django_db


def begun(place: Place) -> MigrationRun:
    return make_run(place, state="planning")


def record(place: Place, run: MigrationRun) -> Plan:
    return plans.record(actor=WORKER, number=run.number, epoch=run.epoch, draft=make_draft(place))


def lose_planner(run: MigrationRun) -> None:
    MigrationRun.objects.filter(number=run.number).update(lease_expires_at=database_now() - timedelta(seconds=1))


def test_a_worker_takes_up_a_requested_run() -> None:
    run = begun(make_place())

    assert (run.state, run.epoch, run.worker) == ("planning", 1, WORKER.name)
    assert trail.of_run(run) == ["run.requested", "run.planning"]


def test_a_second_delivery_does_not_plan() -> None:
    run = begun(make_place())

    with pytest.raises(plans.NotPlannable, match="is planning"):
        plans.begin(actor=WORKER, number=run.number)


def test_a_plan_made_with_other_settings_than_would_be_approved_is_not_stored() -> None:
    place = make_place()
    run = begun(place)
    draft = make_draft(place)
    Project.objects.filter(pk=place.project.pk).update(x_arguments=["tenant=other"])

    with pytest.raises(plans.SettingsChanged, match="were changed while it was planned"):
        plans.record(actor=WORKER, number=run.number, epoch=run.epoch, draft=draft)

    assert not Plan.objects.exists()


def test_a_withdrawn_run_is_not_planned() -> None:
    place = make_place()
    run = make_run(place)
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    with pytest.raises(plans.NotPlannable, match="is withdrawn"):
        plans.begin(actor=WORKER, number=run.number)


def test_there_is_no_plan_for_no_run() -> None:
    with pytest.raises(moves.NoSuchRun, match="There is no run 404"):
        plans.begin(actor=WORKER, number=404)


def test_a_run_whose_planner_was_lost_is_taken_up_again_in_a_new_epoch() -> None:
    place = make_place()
    run = begun(place)
    lose_planner(run)

    again = plans.begin(actor=WORKER, number=run.number)

    assert (again.state, again.epoch) == ("planning", 2)
    assert record(place, again).digest


def test_a_lost_planner_records_nothing_once_another_has_taken_over() -> None:
    place = make_place()
    lost = begun(place)
    lose_planner(lost)
    plans.begin(actor=WORKER, number=lost.number)

    with pytest.raises(moves.StaleRun, match="was taken up by worker@test meanwhile"):
        record(place, lost)
    with pytest.raises(moves.StaleRun):
        plans.fail(actor=WORKER, number=lost.number, epoch=lost.epoch, code="x", sentence="Late.")

    assert not Plan.objects.exists()


def test_a_plan_opens_the_run_for_approval() -> None:
    place = make_place()
    run = begun(place)

    plan = record(place, run)

    run.refresh_from_db()
    assert (run.state, run.plan, run.lease_expires_at) == ("awaiting_approval", plan, None)
    assert run.sentence == "Waiting for approval: 1 × database-administrator, 1 × owner."
    assert [(step.position, step.revision, step.state) for step in run.steps.all()] == [(1, "003", "waiting")]


def test_a_plan_leaves_an_event_with_its_digest_and_its_parts() -> None:
    place = make_place()
    plan = record(place, begun(place))

    facts = trail.last("run.planned").facts["facts"]
    assert (facts["plan_digest"], facts["from"], facts["to"], facts["steps"]) == (plan.digest, ["002"], ["003"], 1)
    assert set(facts["parts"]) == {
        *("scripts", "sql", "steps", "start", "identity", "connection", "worker", "target", "policy")
    }


def test_the_digest_is_over_the_stored_body() -> None:
    place = make_place()
    plan = record(place, begun(place))

    assert hashchain.digest(plan.body) == plan.digest
    assert plan.parts == Plan.objects.get(pk=plan.pk).parts


def test_two_runs_that_ask_for_the_same_have_different_digests() -> None:
    place = make_place()
    first = record(place, begun(place))
    runs.withdraw(actor=place.actor("dev"), number=first.runs.get().number)

    assert record(place, begun(place)).digest != first.digest


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("sql", {"sql": "DROP TABLE analytics_modules;"}),
        ("sql", {"sql": "", "sql_reason": "Offline mode failed."}),
        ("steps", {"destination": ["head"]}),
        ("start", {"from_revisions": ["001"]}),
        ("connection", {"connection": {"sslmode": "disable"}}),
        ("worker", {"worker": {"backup program": "/srv/backup"}}),
        ("identity", {"identity": {"endpoint": {}, "system_identifier": "8", "database_oid": 1, "database": "x"}}),
    ],
)
def test_a_digest_covers(part: str, change: dict[str, object]) -> None:
    place = make_place()
    plan = record(place, begun(place))
    other = make_run(place, state="planning", revision="003")

    changed = plans.record(actor=WORKER, number=other.number, epoch=other.epoch, draft=make_draft(place, **change))

    assert {name for name in plan.parts if plan.parts[name] != changed.parts[name]} == {part}


def test_a_plan_is_recorded_once() -> None:
    place = make_place()
    run = begun(place)
    record(place, run)

    with pytest.raises(moves.StaleRun, match="cannot be planned: it is awaiting approval"):
        record(place, run)

    assert Plan.objects.count() == 1


def test_a_plan_does_not_replace_the_one_of_an_approved_run() -> None:
    place = make_place(tier="development", requirements=[])
    run = begun(place)
    record(place, run)

    with pytest.raises(moves.StaleRun, match="cannot be planned: it is approved"):
        record(place, run)


def test_a_run_withdrawn_during_planning_takes_no_plan() -> None:
    place = make_place()
    run = begun(place)
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    with pytest.raises(moves.StaleRun, match=r"it is withdrawn\. Withdrawn by dev"):
        record(place, run)

    assert not Plan.objects.exists()
    assert trail.of_run(run)[-1] == "run.withdrawn"


def test_without_requirements_a_plan_is_approved_by_the_policy_itself() -> None:
    place = make_place(slug="dev", tier="development", requirements=[])
    run = begun(place)

    record(place, run)

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("approved", "Approved; waiting for an operator to press Run now.")
    assert trail.of_run(run)[-2:] == ["run.planned", "run.approved"]


def test_a_run_that_cannot_be_planned_ends_with_the_reason() -> None:
    run = begun(make_place())

    plans.fail(actor=WORKER, number=run.number, epoch=run.epoch, code="nothing_to_do", sentence="It is at head.")

    run.refresh_from_db()
    assert (run.state, run.reason_code, run.sentence) == ("plan_failed", "nothing_to_do", "It is at head.")
    assert run.finished_at is not None
    assert trail.last("run.plan_failed").facts["facts"]["code"] == "nothing_to_do"


def test_a_run_fails_to_be_planned_once() -> None:
    run = begun(make_place())
    plans.fail(actor=WORKER, number=run.number, epoch=run.epoch, code="x", sentence="Once.")

    with pytest.raises(moves.StaleRun, match=r"it is plan failed\. Once\."):
        plans.fail(actor=WORKER, number=run.number, epoch=run.epoch, code="x", sentence="Twice.")


def test_a_request_lives_as_long_as_the_policy_says_from_its_plan_on() -> None:
    place = make_place(approval_lifetime_s=600)
    run = begun(place)

    record(place, run)

    run.refresh_from_db()
    assert run.planned_at is not None
    assert run.expires_at is not None
    assert run.expires_at - run.planned_at == timedelta(seconds=600)
