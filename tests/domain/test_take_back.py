"""Taking one's own approval back before the start."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import approvals, moves
from migrations_audit.errors import Conflict
from tests.domain import trail
from tests.people import add_person, make_place, make_run

pytestmark = pytest.mark.django_db


def test_an_approved_run_waits_again_when_it_falls_short() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert (run.state, run.approved_at) == ("awaiting_approval", None)
    assert run.sentence == "Waiting for approval: 1 × database-administrator."
    assert trail.of_run(run)[-1] == "run.approval_withdrawn"


def test_a_run_that_was_short_before_says_what_it_waits_for_now() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert run.sentence == "Waiting for approval: 1 × database-administrator, 1 × owner."


def test_a_wish_of_somebody_else_stays_what_the_run_waits_for() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)
    approvals.request_changes(
        actor=place.actor("owner"), number=run.number, digest=run.plan.digest, comment="Use a WHERE."
    )

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert run.sentence.startswith("owner asked for changes: Use a WHERE.")


def test_a_run_that_has_more_than_enough_stays_approved() -> None:
    place = make_place()
    second = add_person(place, "owner2", ("approver", "owner"))
    run = make_run(place, state="approved")
    assert run.plan is not None
    approvals.approve(actor=second, number=run.number, digest=run.plan.digest)

    approvals.take_back(actor=second, number=run.number)

    run.refresh_from_db()
    assert run.state == "approved"


def test_it_is_kept_as_withdrawn_and_given_again_as_a_new_one() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    assert run.plan is not None
    approvals.take_back(actor=place.actor("dba"), number=run.number)

    approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)

    run.refresh_from_db()
    assert run.state == "approved"
    assert [item.withdrawn_at is None for item in run.approvals.filter(person=place.people["dba"])] == [False, True]


def test_it_is_taken_back_once() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    approvals.take_back(actor=place.actor("dba"), number=run.number)

    with pytest.raises(Conflict, match="You have no standing decision"):
        approvals.take_back(actor=place.actor("dba"), number=run.number)


def test_nobody_takes_back_what_another_gave() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    for name in ("admin", "dev", "operator"):
        with pytest.raises(Conflict, match="You have no standing decision"):
            approvals.take_back(actor=place.actor(name), number=run.number)
    with pytest.raises(access.Hidden):
        approvals.take_back(actor=place.actor("outsider"), number=run.number)


def test_a_token_does_not_take_back_what_its_owner_gave() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    with pytest.raises(access.MissingScope, match="A token may not do this"):
        approvals.take_back(actor=place.token("dba", "read", "request", "run"), number=run.number)

    trail.denied(verb="approvals.take_back", code="missing_scope")


@pytest.mark.parametrize("state", ["queued", "running"])
def test_it_is_too_late_once_the_run_was_started(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match=f"cannot be un-approved: it is {state}"):
        approvals.take_back(actor=place.actor("dba"), number=run.number)
