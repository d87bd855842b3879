"""The policy of then and the policy of now: both must be met, and an empty one never approves production."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from migrations_audit.actions import approvals, attempts, grounds, plans, runs
from migrations_audit.errors import Invalid
from migrations_audit.models import Environment, MigrationRun
from tests.domain import raw
from tests.people import WORKER, Place, add_person, make_draft, make_place, make_run

pytestmark = pytest.mark.django_db

DBA = {"role": "database-administrator", "count": 1}
OWNER = {"role": "owner", "count": 1}


def policy_becomes(place: Place, requirements: Any) -> None:
    """Past the actions, so that nobody counts as its editor."""
    Environment.objects.filter(pk=place.environment.pk).update(requirements=requirements)


def approve(place: Place, run: MigrationRun, *names: str) -> None:
    assert run.plan is not None
    for name in names:
        approvals.approve(actor=place.actor(name), number=run.number, digest=run.plan.digest)
    run.refresh_from_db()


def missing(run: MigrationRun) -> list[str]:
    """What the standing approvals lack."""
    return [str(item) for item in grounds.standing_match(MigrationRun.objects.get(pk=run.pk)).missing]


def start(place: Place, run: MigrationRun) -> MigrationRun:
    assert run.plan is not None
    return runs.start(
        actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=place.target.label
    )


def test_a_policy_that_was_loosened_does_not_approve_with_less_than_the_plan_was_made_under() -> None:
    place = make_place(requirements=[DBA, OWNER])
    run = make_run(place, state="awaiting_approval")
    approve(place, run, "dba")
    policy_becomes(place, [DBA])

    assert missing(run) == ["1 × owner"]


def test_a_policy_that_was_tightened_asks_for_what_it_asks_today() -> None:
    place = make_place(requirements=[DBA])
    run = make_run(place, state="approved")
    policy_becomes(place, [DBA, OWNER])
    place.people["owner"].groups.clear()

    assert missing(run) == ["1 × owner"]


@pytest.mark.parametrize(("then", "now"), [([DBA], [DBA, OWNER]), ([DBA, OWNER], [DBA]), ([DBA, OWNER], [OWNER])])
def test_a_start_needs_both_policies_whatever_their_order(then: list[Any], now: list[Any]) -> None:
    place = make_place(requirements=then)
    run = make_run(place, state="awaiting_approval")
    approve(place, run, *(["dba"] if then == [DBA] else ["dba", "owner"]))
    policy_becomes(place, now)
    place.people["owner"].groups.clear()

    with pytest.raises(grounds.ApprovalIncomplete, match="missing: 1 × owner"):
        start(place, run)


def test_a_loosened_policy_makes_a_queued_run_void_and_never_lets_it_start_with_less() -> None:
    place = make_place(requirements=[DBA, OWNER])
    run = make_run(place, state="queued")
    policy_becomes(place, [DBA])

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("void", "approved_thing_changed")


def test_people_in_all_are_counted_over_every_approver_role() -> None:
    place = make_place(requirements=[DBA, OWNER, {"people": 3}])
    add_person(place, "third", ("approver", "security"))
    run = make_run(place, state="awaiting_approval")

    approve(place, run, "dba", "owner")
    first = run.sentence
    approve(place, run, "third")

    assert first == "Waiting for approval: 1 more of any approver role."
    assert run.state == "approved"


def test_an_environment_that_asks_for_nobody_says_so_in_its_event() -> None:
    place = make_place(slug="development", tier="development", requirements=[])

    run = make_run(place, state="approved")

    assert start(place, run).state == "queued"


def test_a_plan_of_an_environment_that_has_become_production_is_not_approved_by_nobody() -> None:
    place = make_place(slug="development", tier="development", requirements=[])
    run = make_run(place, state="approved")
    Environment.objects.filter(pk=place.environment.pk).update(tier="production", requirements=[OWNER])

    with pytest.raises(grounds.ApprovalIncomplete, match="missing: 1 × owner"):
        start(place, run)


def without_the_constraint() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE migrations_audit_environment DROP CONSTRAINT production_needs_a_requirement")


def test_production_with_an_empty_policy_approves_no_plan_by_itself() -> None:
    place = make_place()
    without_the_constraint()
    policy_becomes(place, [])
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Needed.")
    begun = plans.begin(actor=WORKER, number=run.number)
    place.target.refresh_from_db()

    plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=make_draft(place))

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("awaiting_approval", "Waiting for approval: 1 more of any approver role.")


def test_production_whose_policy_was_emptied_refuses_the_start() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    without_the_constraint()
    policy_becomes(place, [])

    with pytest.raises(grounds.NoPolicy, match="Production is production and its policy names nobody"):
        start(place, run)


@pytest.mark.parametrize("policy", [{}, "owner", [{"role": "owner"}]])
def test_a_policy_that_is_none_lets_nothing_start(policy: Any) -> None:
    place = make_place()
    run = make_run(place, state="queued")
    policy_becomes(place, policy)

    with pytest.raises((Invalid, grounds.NoPolicy)):
        start(place, make_run_approved_beside(place, run))

    assert attempts.claim(actor=WORKER, number=run.number).state == "refused"


def make_run_approved_beside(place: Place, run: MigrationRun) -> MigrationRun:
    """Another run of the place that is approved, put there past the actions: its policy cannot be read."""
    second = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="003", reason="Needed.")
    raw.put(second, state="approved", plan=run.plan)
    second.refresh_from_db()
    return second
