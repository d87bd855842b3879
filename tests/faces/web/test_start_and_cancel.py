"""Run now, and Cancel, on the run page."""

from __future__ import annotations

from datetime import timedelta

from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf, events


def test_an_operator_starts_an_approved_run(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    operator = visitor("operator")

    assert "Run now" in operator.run(run).buttons
    answer = operator.press(run, "start")

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    assert "Queued by operator; waiting for a worker of target-production." in operator.run(run).words
    assert len(events("run.queued")) == 1


def test_before_it_the_page_repeats_what_runs_where(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")

    decide = visitor("operator").run(run).part("decide")

    assert (
        "Runs 1 revision, 002 → 003 , on market/production/main (PostgreSQL, migrator@db.example:5432/market )."
        in decide
    )


def test_an_approver_alone_cannot_start(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    dba = visitor("dba")

    assert "Run now" not in dba.run(run).buttons
    assert dba.press(run, "start").status == 403
    assert MigrationRun.objects.get(number=run.number).state == "approved"


def test_a_stranger_cannot_start(place: people.Place) -> None:
    run = people.make_run(place, state="approved")

    assert Visitor(None).press(run, "start").status == 302
    assert MigrationRun.objects.get(number=run.number).state == "approved"


def test_a_run_that_is_not_approved_is_not_started(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    operator = visitor("operator")

    assert "Run now" not in operator.run(run).buttons
    operator.press(run, "start")

    assert "cannot be started: it is awaiting approval" in operator.said()


def test_a_second_press_is_told(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    operator = visitor("operator")
    operator.press(run, "start")

    operator.press(run, "start")

    assert "cannot be started: it is queued" in operator.said()
    assert len(events("run.queued")) == 1


def test_a_stale_page_does_not_start(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    operator = visitor("operator")

    operator.press(run, "start", digest="0" * 64)

    assert "is not the one that you saw" in operator.said()
    assert MigrationRun.objects.get(number=run.number).state == "approved"


def test_a_busy_target_shows_who_holds_it_in_place_of_the_button(place: people.Place, visitor: VisitorOf) -> None:
    people.make_run(place, state="queued")
    second = people.make_run(place, state="approved", revision="003")
    operator = visitor("operator")

    page = operator.run(second)
    operator.press(second, "start")

    assert "Run now" not in page.buttons
    assert "is queued; this run can start when that one has ended" in page.words
    assert "wait until it has ended" in operator.said()


def test_an_expired_approval_leaves_no_button(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    MigrationRun.objects.filter(number=run.number).update(expires_at=database_now() - timedelta(seconds=1))

    page = visitor("operator").run(run)

    assert "Run now" not in page.buttons
    assert "The approval has expired. Request it again." in page.words


def test_a_queued_run_is_cancelled_at_once(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="queued")
    dev = visitor("dev")

    assert "Cancel" in dev.run(run).buttons
    answer = dev.press(run, "cancel")

    assert answer.status == 303
    assert "Cancelled by dev before it started." in dev.run(run).words


def test_a_running_run_is_asked_to_stop_once(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    operator = visitor("operator")
    operator.press(run, "cancel")

    page = operator.run(run)
    operator.press(run, "cancel")

    assert "operator asked to cancel. The run ends with what the target then says." in page.words
    assert "Cancel" not in page.buttons
    assert "asked" in operator.said()
    assert len(events("run.cancel_requested")) == 1


def test_a_viewer_cannot_cancel(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="running")
    viewer = visitor("viewer")

    assert "Cancel" not in viewer.run(run).buttons
    assert viewer.press(run, "cancel").status == 403
