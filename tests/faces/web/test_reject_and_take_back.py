"""Reject, and Take back my approval, on the run page."""

from __future__ import annotations

from migrations_audit.models import MigrationRun
from tests import people
from tests.faces.web.visitor import VisitorOf, events


def test_a_rejection_with_its_reason_ends_the_run(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    owner = visitor("owner")

    answer = owner.press(run, "reject", comment="Not before Monday.")

    page = owner.run(run)
    assert answer.status == 303
    assert "Rejected by owner: Not before Monday." in page.words
    assert page.buttons == {"Check now"}
    assert len(events("run.rejected")) == 1


def test_a_rejection_without_a_reason_comes_back_with_the_sentence(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = visitor("owner").press(run, "reject", comment="  ")

    assert answer.status == 400
    assert "Say why you reject it" in answer.part("decide")
    assert MigrationRun.objects.get(number=run.number).state == "awaiting_approval"


def test_an_approved_run_can_still_be_rejected(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    dba = visitor("dba")

    assert {"Reject", "Take back my approval"} <= dba.run(run).buttons
    dba.press(run, "reject", comment="Found a lock.")

    assert MigrationRun.objects.get(number=run.number).state == "rejected"


def test_a_rejection_of_another_plan_changes_nothing(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")

    dba.press(run, "reject", digest="f" * 64, comment="No.")

    assert "is not the one that you saw" in dba.said()
    assert MigrationRun.objects.get(number=run.number).state == "awaiting_approval"


def test_a_viewer_cannot_reject(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert visitor("viewer").press(run, "reject", comment="No.").status == 403
    assert len(events("access.denied")) == 1


def test_a_taken_back_approval_no_longer_carries_the_run(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    owner = visitor("owner")

    answer = owner.press(run, "take-back")

    page = owner.run(run)
    assert answer.status == 303
    assert "Waiting for approval: 1 × owner." in page.words
    assert "no longer counts since" in page.part("approvals")
    assert "Approve" in page.buttons


def test_taking_back_what_was_not_given_says_so(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")

    dba.press(run, "take-back")

    assert "You have no standing decision" in dba.said()
