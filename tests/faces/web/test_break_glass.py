"""Starting without approval on the run page, what everybody sees of it, and the review afterwards."""

from __future__ import annotations

import pytest

from migrations_audit.actions import attempts
from migrations_audit.models import MigrationRun, Notice, Role
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf, events

GIVEN = {
    "why_now": "Sign-in answers 500 since 02:10; customers are locked out.",
    "why_not_approved": "Neither owner nor administrator answers the phone.",
    "password": people.PASSWORD,
    "confirm_target": "market/production/main",
}


@pytest.fixture
def chief(place: people.Place) -> Visitor:
    people.add_person(place, "chief", (Role.ADMINISTRATOR, ""), (Role.OPERATOR, ""))
    return Visitor(place.people["chief"])


def test_the_button_is_there_for_whoever_may_and_for_nobody_else(
    place: people.Place, visitor: VisitorOf, chief: Visitor
) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert "Start without approval" in chief.run(run).buttons
    for name in ("operator", "admin", "dba", "dev", "viewer"):
        assert "Start without approval" not in visitor(name).run(run).buttons
        assert visitor(name).press(run, "break-glass", **GIVEN).status == 403
    assert MigrationRun.objects.get().state == "awaiting_approval"


def test_a_stranger_breaks_no_glass(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")

    assert Visitor(None).press(run, "break-glass", **GIVEN).status == 302
    assert MigrationRun.objects.get().state == "awaiting_approval"


def test_it_starts_and_the_run_is_marked_for_everybody(place: people.Place, visitor: VisitorOf, chief: Visitor) -> None:
    run = people.make_run(place, state="awaiting_approval")

    answer = chief.press(run, "break-glass", **GIVEN)

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    page = visitor("viewer").run(run)
    assert "Started without approval by chief at" in page.words
    assert GIVEN["why_now"] in page.words
    assert GIVEN["why_not_approved"] in page.words
    assert "open: somebody else than chief signs it once the run has ended" in page.words
    assert "Not approved" in page.words
    assert "without approval, by chief" in visitor("viewer").get("/migrations_audit/migrationrun/").words
    assert len(events("run.glass_broken")) == 1


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("why_now", "urgent", "Write at least 20 characters"),
        ("password", "guess", "This is not your password, so nothing was started"),
        ("confirm_target", "market", "type the target's name, market/production/main"),
    ],
)
def test_what_was_typed_is_kept_but_the_password(
    place: people.Place, chief: Visitor, field: str, typed: str, sentence: str
) -> None:
    run = people.make_run(place, state="awaiting_approval")

    page = chief.press(run, "break-glass", **{**GIVEN, field: typed})

    assert page.status == 400
    assert sentence in page.words
    assert GIVEN["why_not_approved"] in page.words
    assert people.PASSWORD not in page.source
    assert "guess" not in page.source
    assert MigrationRun.objects.get().state == "awaiting_approval"


def test_those_who_would_have_approved_are_told_until_they_acknowledge(
    place: people.Place, visitor: VisitorOf, chief: Visitor
) -> None:
    run = people.make_run(place, state="awaiting_approval")
    chief.press(run, "break-glass", **GIVEN)
    notice = Notice.objects.get(person=place.people["dba"])

    assert (
        f"Run {run.number} on market/production/main: Started WITHOUT APPROVAL by chief"
        in visitor("dba").get("/").words
    )
    assert visitor("owner").post(f"/notices/{notice.pk}/acknowledge").status == 404
    assert visitor("dba").post(f"/notices/{notice.pk}/acknowledge").location == "/"
    assert "You are told" not in visitor("dba").get("/").words


def test_the_review_stays_open_until_somebody_else_signs_it(
    place: people.Place, visitor: VisitorOf, chief: Visitor
) -> None:
    run = people.make_run(place, state="awaiting_approval")
    chief.press(run, "break-glass", **GIVEN)
    people.finish(place, attempts.claim(actor=people.WORKER, number=run.number))
    run.refresh_from_db()

    assert "nobody else has signed the review" in visitor("viewer").get("/").words
    assert "Sign the review" not in chief.run(run).buttons
    short = visitor("auditor").press(run, "review", comment="fine")
    assert (short.status, "Write at least 20 characters" in short.words) == (400, True)
    visitor("auditor").press(run, "review", comment="Read the log and the evidence; nothing odd.")

    assert "nobody else has signed the review" not in visitor("viewer").get("/").words
    assert "auditor at" in visitor("viewer").run(run).words
    assert "Read the log and the evidence; nothing odd." in visitor("viewer").run(run).words
    ended = visitor("viewer").run(run).words
    assert "Started without approval by chief" in ended
    assert "What was started without approval" in ended
    assert "What was approved" not in ended


def test_the_list_of_runs_finds_them_and_those_that_nobody_has_reviewed(
    place: people.Place, visitor: VisitorOf, chief: Visitor
) -> None:
    quiet = people.finish(place, people.make_run(place, state="running"))
    run = people.make_run(place, state="awaiting_approval")
    chief.press(run, "break-glass", **GIVEN)
    auditor, runs = visitor("auditor"), "/migrations_audit/migrationrun/?without_approval="

    def listed(which: str) -> set[int]:
        page = auditor.get(runs + which).source
        return {each.number for each in (quiet, run) if f"/runs/{each.number}/" in page}

    assert (listed("yes"), listed("open"), listed("no")) == ({run.number}, {run.number}, {quiet.number})
    people.finish(place, attempts.claim(actor=people.WORKER, number=run.number))
    auditor.press(run, "review", comment="Read the log and the evidence; nothing odd.")
    assert (listed("yes"), listed("open")) == ({run.number}, set())
