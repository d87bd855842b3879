"""Asking for changes on the run page, and proposals of policy changes on the dashboard and in the admin."""

from __future__ import annotations

import pytest

from migrations_audit.models import Environment, MigrationRun, PolicyProposal
from tests import people
from tests.faces.admin.pages import change_url, submit, text
from tests.faces.web.visitor import Visitor, VisitorOf, events


def test_an_approver_asks_for_changes_and_takes_it_back(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    dba = visitor("dba")

    answer = dba.press(run, "request-changes", comment="Add the index concurrently.")

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    page = visitor("owner").run(run)
    assert "dba asked for changes" in page.part("approvals")
    assert "Add the index concurrently." in page.part("approvals")
    assert "Approve" not in page.buttons
    assert "Take back my wish for changes" in dba.run(run).buttons
    dba.press(run, "take-back")
    assert "Your wish for changes of" in dba.said()
    assert "Approve" in visitor("owner").run(run).buttons


def test_the_wish_of_somebody_who_is_no_approver_any_more_keeps_nobody_from_approving(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="awaiting_approval")
    visitor("dba").press(run, "request-changes", comment="Add the index concurrently.")
    place.people["dba"].groups.clear()

    page = visitor("owner").run(run)

    assert "Approve" in page.buttons
    assert "The wish of dba for changes does not count: dba is no approver there any more." in page.part("approvals")
    assert "It cannot be approved until dba takes that back" not in page.part("approvals")
    assert "dba asked for changes" not in visitor("owner").get("/").words
    assert visitor("owner").press(run, "approve").status == 303


def test_without_a_comment_the_page_comes_again(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    page = visitor("dba").press(run, "request-changes")

    assert (page.status, "Say what should be different" in page.words) == (400, True)


def test_others_have_no_such_button_and_a_forged_post_is_refused(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")

    for name in ("dev", "operator", "viewer"):
        assert "Request changes" not in visitor(name).run(run).buttons
        assert visitor(name).press(run, "request-changes", comment="Mine.").status == 403
    assert Visitor(None).press(run, "request-changes", comment="Mine.").status == 302
    assert MigrationRun.objects.get().approvals.count() == 0


@pytest.fixture
def proposed(place: people.Place) -> PolicyProposal:
    """What the superuser entered into the form of production."""
    people.observe(place)
    people.add_person(place, "root", superuser=True)
    page = submit(Visitor(place.people["root"]).client, change_url(place.environment), requirements="1 owner")
    assert "Nothing was changed yet." in text(page)
    assert "It takes effect when one of these confirms it: admin." in text(page)
    return PolicyProposal.objects.get()


def test_the_form_says_that_nothing_was_changed_and_the_dashboard_shows_it(
    place: people.Place, visitor: VisitorOf, proposed: PolicyProposal
) -> None:
    words = visitor("admin").get("/").words

    assert f"Proposal {proposed.pk} for the policy of Production , by root" in words
    assert "who must approve 1 database-administrator, 1 owner 1 owner" in words
    assert Environment.objects.get(pk=place.environment.pk).requirements == place.environment.requirements


def test_the_second_administrator_confirms_and_the_first_cannot(
    place: people.Place, visitor: VisitorOf, proposed: PolicyProposal
) -> None:
    assert "You proposed it, so somebody else confirms it." in visitor("root").get("/").words
    assert visitor("root").post(f"/proposals/{proposed.pk}/confirm").status == 403
    assert {"Confirm", "Decline"} & visitor("viewer").get("/").buttons == set()
    assert "Confirm" in visitor("admin").get("/").buttons
    assert visitor("viewer").post(f"/proposals/{proposed.pk}/confirm").status == 403
    assert Visitor(None).post(f"/proposals/{proposed.pk}/confirm").status == 302

    answer = visitor("admin").post(f"/proposals/{proposed.pk}/confirm")

    assert (answer.status, answer.location) == (303, "/")
    assert Environment.objects.get(pk=place.environment.pk).requirements == [{"role": "owner", "count": 1}]
    assert "wait for a second person" not in visitor("admin").get("/").words
    assert len(events("policy.confirmed")) == 1


def test_it_is_declined_with_a_reason(place: people.Place, visitor: VisitorOf, proposed: PolicyProposal) -> None:
    admin = visitor("admin")
    admin.post(f"/proposals/{proposed.pk}/decline", reason="")
    assert "Say why you decline it" in admin.said()

    admin.post(f"/proposals/{proposed.pk}/decline", reason="Two people are the rule.")

    proposed.refresh_from_db()
    assert (proposed.decision, proposed.reason) == ("declined", "Two people are the rule.")
