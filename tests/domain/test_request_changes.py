"""Asking for changes: the decision between yes and no."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import approvals, grounds, moves, runs
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import Approval, MigrationRun
from tests.domain import trail
from tests.people import Place, approve_by_all, at_once, make_place, make_run

pytestmark = pytest.mark.django_db

WISH = "Add the index concurrently, please."


def awaiting(place: Place, state: str = "awaiting_approval") -> tuple[MigrationRun, str]:
    run = make_run(place, state=state)
    assert run.plan is not None
    return run, run.plan.digest


def ask(place: Place, run: MigrationRun, who: str | Actor = "dba", comment: str = WISH) -> Approval:
    assert run.plan is not None
    actor = place.actor(who) if isinstance(who, str) else who
    asked = approvals.request_changes(actor=actor, number=run.number, digest=run.plan.digest, comment=comment)
    run.refresh_from_db()
    return asked


def test_a_run_for_which_somebody_wants_changes_waits_and_says_so() -> None:
    place = make_place()
    run, digest = awaiting(place)

    asked = ask(place, run)

    assert (asked.decision, run.state) == ("changes", "awaiting_approval")
    assert run.sentence.startswith(f"dba asked for changes: {WISH} It cannot be approved until dba takes that back")
    with pytest.raises(grounds.ChangesRequested, match="dba asked for changes"):
        approvals.approve(actor=place.actor("owner"), number=run.number, digest=digest)


def test_it_leaves_an_event_with_the_comment() -> None:
    place = make_place()
    run, _ = awaiting(place)

    ask(place, run)

    facts = trail.last("run.changes_requested").facts["facts"]
    assert (facts["comment"], facts["roles"]) == (WISH, ["database-administrator"])


def test_an_approved_run_waits_again() -> None:
    place = make_place()
    run, digest = awaiting(place, "approved")

    ask(place, run)

    assert (run.state, run.approved_at) == ("awaiting_approval", None)
    with pytest.raises(moves.StaleRun):
        runs.start(actor=place.actor("operator"), number=run.number, digest=digest, confirm=place.target.label)


def test_taken_back_the_others_may_approve_and_that_person_too() -> None:
    place = make_place()
    run, digest = awaiting(place)
    ask(place, run)

    approvals.take_back(actor=place.actor("dba"), number=run.number)
    run.refresh_from_db()
    waiting = run.sentence
    approve_by_all(place, run.number, digest)

    run.refresh_from_db()
    assert waiting == "Waiting for approval: 1 × database-administrator, 1 × owner."
    assert run.state == "approved"


def test_whoever_asked_may_approve_instead_of_taking_it_back_first() -> None:
    place = make_place()
    run, digest = awaiting(place)
    ask(place, run)

    approve_by_all(place, run.number, digest)

    run.refresh_from_db()
    assert run.state == "approved"


def test_when_only_the_wish_was_in_the_way_taking_it_back_approves_the_run() -> None:
    place = make_place(requirements=[{"role": "owner", "count": 1}])
    run, digest = awaiting(place)
    approvals.approve(actor=place.actor("owner"), number=run.number, digest=digest)
    ask(place, run)

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert run.state == "approved"
    assert trail.of_run(run)[-2:] == ["run.approval_withdrawn", "run.approved"]


def test_of_two_who_want_changes_the_other_is_named_when_one_takes_it_back() -> None:
    place = make_place()
    run, _ = awaiting(place)
    ask(place, run)
    ask(place, run, "owner", "Not before the weekend.")

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert run.sentence.startswith("owner asked for changes: Not before the weekend.")


def test_the_requester_withdraws_and_asks_again() -> None:
    place = make_place()
    run, _ = awaiting(place)
    ask(place, run)
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    again, digest = awaiting(place)
    approve_by_all(place, again.number, digest)

    again.refresh_from_db()
    assert again.state == "approved"


@pytest.mark.parametrize("comment", ["", "  "])
def test_it_takes_a_comment(comment: str) -> None:
    place = make_place()
    run, _ = awaiting(place)

    with pytest.raises(Invalid, match="Say what should be different"):
        ask(place, run, comment=comment)


@pytest.mark.parametrize("name", ["viewer", "operator", "auditor", "admin"])
def test_not_everybody_asks(name: str) -> None:
    place = make_place()
    run, _ = awaiting(place)

    with pytest.raises(access.MissingRole):
        ask(place, run, name)

    trail.denied(verb="approvals.request_changes", code="missing_role")


def test_the_requester_and_a_token_do_not() -> None:
    place = make_place()
    run, _ = awaiting(place)

    with pytest.raises(approvals.SelfApproval):
        ask(place, run, "dev")
    with pytest.raises(approvals.MachineApproval):
        ask(place, run, place.token("dba", "run"))


def test_it_is_asked_once() -> None:
    place = make_place()
    run, _ = awaiting(place)
    ask(place, run)

    with pytest.raises(approvals.AlreadyDecided):
        ask(place, run)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_it_is_too_late_once_it_was_started(state: str) -> None:
    place = make_place()
    run, _ = awaiting(place, state)

    with pytest.raises(moves.StaleRun, match="cannot be sent back for changes any more"):
        ask(place, run)


def test_a_start_and_a_wish_at_the_same_time_never_start_what_somebody_wants_changed(real_transactions: None) -> None:
    place = make_place()
    run, digest = awaiting(place, "approved")
    operator = place.actor("operator")

    answers = at_once(
        2,
        lambda index: (
            runs.start(actor=operator, number=run.number, digest=digest, confirm=place.target.label)
            if index
            else approvals.request_changes(actor=place.actor("dba"), number=run.number, digest=digest, comment=WISH)
        ),
    )

    run.refresh_from_db()
    assert sorted(isinstance(answer, Conflict) for answer in answers) == [False, True]
    assert run.state == ("awaiting_approval" if isinstance(answers[1], Conflict) else "queued")
