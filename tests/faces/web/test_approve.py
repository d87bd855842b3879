"""Approve, on the run page."""

from __future__ import annotations

from django.contrib.auth.models import Group

from migrations_audit.models import Approval
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf, events, plan_of


def test_an_approver_approves_and_comes_back_to_the_page(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = visitor("dba").press(run, "approve", comment="Read it.")

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    approval = Approval.objects.get(run=run)
    assert (approval.person_name, approval.comment, approval.plan_digest) == ("dba", "Read it.", plan_of(run).digest)
    assert len(events("run.approval_given")) == 1


def test_the_page_then_says_what_is_bound_and_who_is_still_missing(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")
    dba.press(run, "approve", comment="Read it.")

    page = dba.run(run)

    assert f"You approved Run {run.number} on market/production/main." in page.words
    assert "database-administrator approved by dba" in page.part("approvals")
    assert "owner missing; could be given by owner" in page.part("approvals")
    assert "Take back my approval" in page.buttons
    assert "Approve" not in page.buttons


def test_a_stranger_is_sent_to_the_login(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = Visitor(None).press(run, "approve")

    assert answer.status == 302
    assert answer.location.startswith("/login/")
    assert not Approval.objects.exists()


def test_a_viewer_gets_403_and_leaves_one_denial(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = visitor("viewer").press(run, "approve")

    assert answer.status == 403
    assert "viewer is not approver in Production" in answer.words
    assert len(events("access.denied")) == 1


def test_the_requester_sees_no_button_and_a_forged_post_is_refused(place: people.Place, visitor: VisitorOf) -> None:
    group, _ = Group.objects.get_or_create(name="production owner")
    place.people["dev"].groups.add(group)
    run = people.make_run(place, state="awaiting_approval")
    dev = visitor("dev")

    page = dev.run(run)
    answer = dev.press(run, "approve")

    assert not {"Approve", "Reject"} & page.buttons

    assert answer.status == 403
    assert "You asked for" in answer.words
    assert not Approval.objects.exists()


def test_approving_twice_says_so_and_counts_once(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")
    dba.press(run, "approve")

    answer = dba.press(run, "approve")

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    assert "already decided" in dba.run(run).words
    assert Approval.objects.count() == 1


def test_a_stale_page_is_told_that_the_plan_changed(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")

    answer = dba.press(run, "approve", digest="0" * 64)

    assert answer.status == 303
    assert "is not the one that you saw. Reload the page" in dba.run(run).words
    assert not Approval.objects.exists()


def test_a_run_that_is_not_planned_yet_cannot_be_approved(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="planning")
    dba = visitor("dba")

    assert "Approve" not in dba.run(run).buttons
    dba.press(run, "approve")

    assert "cannot be approved any more: it is planning" in dba.run(run).words


def test_a_comment_that_is_too_long_comes_back_with_the_page(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = visitor("dba").press(run, "approve", comment="long " * 500)

    assert answer.status == 400
    assert "The comment is longer than 2,000 characters." in answer.words
    assert "long long long" in answer.source
    assert not Approval.objects.exists()


def test_an_approver_whose_role_is_covered_is_told_so(place: people.Place, visitor: VisitorOf) -> None:
    people.add_person(place, "second", ("approver", "database-administrator"))
    run = people.make_run(place, state="awaiting_approval")
    visitor("dba").press(run, "approve")

    page = visitor("second").run(run)

    assert "Approve" in page.buttons
    assert "so yours would not bring it nearer" in page.words
