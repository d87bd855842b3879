"""Rejecting a plan."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import approvals, grounds, moves
from migrations_audit.errors import Invalid
from migrations_audit.models import Approval, MigrationRun
from tests.domain import trail
from tests.people import Place, add_person, make_place, make_run

pytestmark = pytest.mark.django_db


def reject(place: Place, name: str, run: MigrationRun, comment: str = "It drops a column.") -> Approval:
    assert run.plan is not None
    return approvals.reject(actor=place.actor(name), number=run.number, digest=run.plan.digest, comment=comment)


@pytest.mark.parametrize("state", ["awaiting_approval", "approved"])
def test_one_rejection_ends_the_run_also_after_it_was_approved(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    reject(place, "dba", run)

    run.refresh_from_db()
    assert (run.state, run.sentence) == ("rejected", "Rejected by dba: It drops a column.")
    assert run.finished_at is not None


def test_a_rejection_leaves_an_event_with_its_reason() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    reject(place, "owner", run)

    event = trail.last("run.rejected")
    assert (event.actor, event.facts["facts"]["comment"]) == ("owner", "It drops a column.")
    assert event.facts["facts"]["roles"] == ["owner"]


@pytest.mark.parametrize("comment", ["", "  \n"])
def test_a_rejection_says_why(comment: str) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(Invalid, match="Say why you reject it"):
        reject(place, "dba", run, comment)


def test_the_requester_withdraws_and_does_not_reject() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(approvals.SelfApproval, match="You may withdraw it"):
        reject(place, "dev", run)

    trail.denied(verb="approvals.reject", code="self_approval")


def test_nobody_rejects_without_the_role_or_with_a_token() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None

    with pytest.raises(access.MissingRole):
        reject(place, "operator", run)
    with pytest.raises(approvals.MachineApproval):
        approvals.reject(actor=place.token("dba", "run"), number=run.number, digest=run.plan.digest, comment="x")
    with pytest.raises(access.Hidden):
        reject(place, "outsider", run)

    run.refresh_from_db()
    assert run.state == "awaiting_approval"


def test_a_person_who_approved_may_still_reject() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    assert run.plan is not None
    first = approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)

    reject(place, "dba", run)

    first.refresh_from_db()
    run.refresh_from_db()
    assert first.withdrawn_at is not None
    assert run.state == "rejected"
    assert [item.decision for item in run.approvals.filter(withdrawn_at__isnull=True)] == ["reject"]


def test_a_run_is_rejected_once() -> None:
    place = make_place()
    add_person(place, "owner2", ("approver", "owner"))
    run = make_run(place, state="awaiting_approval")
    reject(place, "dba", run)

    with pytest.raises(moves.StaleRun, match=r"cannot be rejected any more: it is rejected\. Rejected by dba"):
        reject(place, "owner2", run)

    assert trail.of_run(run).count("run.rejected") == 1


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_started_run_is_not_rejected(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun):
        reject(place, "dba", run)


def test_a_rejection_names_the_plan_that_was_seen() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(grounds.PlanChanged):
        approvals.reject(actor=place.actor("dba"), number=run.number, digest="a" * 64, comment="x")
