"""What the database refuses about approvals."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit.actions import approvals
from migrations_audit.models import Approval, MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState
from tests.domain import raw
from tests.people import Place, make_place, make_run

pytestmark = pytest.mark.django_db


def insert(place: Place, run: MigrationRun, **changes: Any) -> Approval:
    """An approval by the database administrator, written past the action."""
    person = place.people["dba"]
    values: dict[str, Any] = {
        "run": run,
        "plan": run.plan,
        "plan_digest": run.plan.digest if run.plan else "",
        "person": person,
        "person_name": person.username,
        "requester": run.requester,
        "roles": ["database-administrator"],
        "decision": "approve",
        "at": database_now(),
    } | changes
    return Approval.objects.create(**values)


def test_an_approval_that_fits_is_accepted() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    assert insert(place, run).pk


def test_the_requester_does_not_approve_by_raw_sql() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with raw.refused(match="nobody_approves_their_own_request"):
        insert(place, run, person=run.requester)


def test_the_requester_does_not_approve_by_naming_another_as_the_requester() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with raw.refused(match="names its plan and requester"):
        insert(place, run, person=run.requester, requester=place.people["owner"])


def test_an_approval_of_another_plan_is_refused() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    other = raw.plan_beside(place)

    for changes in ({"plan": other, "plan_digest": other.digest}, {"plan_digest": other.digest}, {"plan_digest": ""}):
        with raw.refused(match="names its plan and requester"):
            insert(place, run, **changes)


def test_an_approval_is_not_moved_to_another_run() -> None:
    place = make_place()
    first = make_run(place, state="awaiting_approval")
    second = make_run(place, state="awaiting_approval", revision="003")
    given = insert(place, first)

    for column, value in (("run_id", second.number), ("plan_digest", second.plan and second.plan.digest)):
        with raw.refused(match="withdrawn once and otherwise does not change"):
            raw.execute(f"UPDATE migrations_audit_approval SET {column} = %s WHERE id = %s", value, given.pk)


@pytest.mark.parametrize("state", sorted(set(RunState) - {RunState.AWAITING_APPROVAL, RunState.APPROVED}))
def test_a_run_that_does_not_wait_for_it_takes_no_approval(state: RunState) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    raw.put_in(run, state)

    with raw.refused(match="belongs to a run that awaits it"):
        insert(place, run)


def test_an_approval_does_not_begin_withdrawn() -> None:
    place = make_place()

    with raw.refused(match="belongs to a run that awaits it"):
        insert(place, make_run(place, state="awaiting_approval"), withdrawn_at=database_now())


def test_one_person_has_one_standing_decision() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    insert(place, run)

    with raw.refused(match="one_standing_decision_per_person"):
        insert(place, run, decision="reject")


@pytest.mark.parametrize(
    "change", ["decision = 'reject'", "comment = 'x'", "roles = '[]'", "at = now()", "person_name = 'x'"]
)
def test_a_decision_does_not_change(change: str) -> None:
    place = make_place()
    given = insert(place, make_run(place, state="awaiting_approval"))

    with raw.refused(match="withdrawn once and otherwise does not change"):
        raw.execute(f"UPDATE migrations_audit_approval SET {change} WHERE id = %s", given.pk)


def test_a_withdrawn_decision_does_not_stand_again() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    given = insert(place, run)
    approvals.take_back(actor=place.actor("dba"), number=run.number)

    for value in ("NULL", "now()"):
        with raw.refused(match="withdrawn once and otherwise does not change"):
            raw.execute(f"UPDATE migrations_audit_approval SET withdrawn_at = {value} WHERE id = %s", given.pk)
