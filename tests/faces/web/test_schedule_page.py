"""Windows, freezes and schedules as the run page shows them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.actions import attempts
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from tests import people, windowing
from tests.faces.web.visitor import Visitor, VisitorOf, events

NOTHING, A_MINUTE = timedelta(0), timedelta(minutes=1)


def typed(hours: float) -> str:
    """A time from now on, as a browser's form sends it."""
    return f"{database_now() + timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def test_without_windows_the_page_says_nothing_of_them(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")

    page = visitor("operator").run(run)

    assert {"Run now", "Schedule"} <= page.buttons
    assert "window" not in page.section("status")


def test_an_approver_knows_before_the_approval_when_it_could_start(place: people.Place, visitor: VisitorOf) -> None:
    windowing.opens_in(place.environment, 3)
    run = people.make_run(place, state="awaiting_approval")

    status = visitor("dba").run(run).section("status")

    assert "Closed: no window is open. The next opening is" in status


@pytest.mark.parametrize(
    ("state", "opens_in", "said"),
    [
        (
            "awaiting_approval",
            3,
            "An approval of now would last until {ends}; it may start at {opens} at the earliest: plan it",
        ),
        (
            "approved",
            3,
            "Approved until {ends}; it may start at {opens} at the earliest: plan it again after {again}, or",
        ),
    ],
)
def test_an_approval_that_ends_before_it_may_start_is_announced(
    place: people.Place, visitor: VisitorOf, state: str, opens_in: int, said: str
) -> None:
    place.environment.approval_lifetime_s = 3_600
    place.environment.save(update_fields=["approval_lifetime_s"])
    run = people.make_run(place, state=state)
    window = windowing.opens_in(place.environment, opens_in)

    status = visitor("dba").run(run).section("status")

    assert run.expires_at is not None
    opens = window.rule.schedule.next(database_now())
    assert opens is not None
    hour = timedelta(hours=1)
    ends = {each: f"{at:%Y-%m-%d %H:%M} UTC" for each, at in {"opens": opens, "again": opens - hour}.items()}
    early, late = (
        said.format(ends=f"{run.expires_at + more:%Y-%m-%d %H:%M} UTC", **ends) for more in (NOTHING, A_MINUTE)
    )
    assert early in status or late in status


def test_an_approval_that_can_be_given_anew_in_time_says_from_when_on(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    place.environment.approval_lifetime_s = 86_400
    place.environment.save(update_fields=["approval_lifetime_s"])
    opens = windowing.opens_in(place.environment, 23).rule.schedule.next(database_now())
    assert opens is not None
    MigrationRun.objects.filter(pk=run.pk).update(expires_at=opens - timedelta(minutes=10))

    status = visitor("dba").run(run).section("status")

    assert "at the earliest: take the approval back and approve again, or change the window." in status


def test_an_approval_that_lasts_until_it_may_start_is_not_announced(place: people.Place, visitor: VisitorOf) -> None:
    windowing.opens_in(place.environment, 3)

    assert "at the earliest" not in visitor("dba").run(people.make_run(place, state="approved")).section("status")


def test_outside_of_the_windows_the_button_is_absent_and_the_page_says_until_when(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="approved")
    windowing.closed(place.environment)
    operator = visitor("operator")

    page = operator.run(run)
    assert "Run now" not in page.buttons
    assert "Schedule" in page.buttons
    assert (
        "Waiting for the window to open. An operator can schedule it. Closed by the closing window “month end”"
        in page.words
    )

    operator.press(run, "start")
    assert "does not start in Production. Closed by the closing window “month end”" in operator.said()
    assert MigrationRun.objects.get(number=run.number).state == "approved"


def test_inside_a_window_the_button_is_there_and_the_page_says_until_when(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="approved")
    windowing.opened(place.environment, duration_minutes=1)

    page = visitor("operator").run(run)

    assert "Run now" in page.buttons
    assert "Open" in page.section("status")


def test_an_operator_schedules_a_run_and_takes_it_off(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    operator = visitor("operator")
    assert "Take off the schedule" not in operator.run(run).buttons
    at = typed(2)

    answer = operator.press(run, "schedule", confirm_target=run.target.label, at=at)

    assert (answer.status, answer.location) == (303, f"/runs/{run.number}/")
    words = operator.run(run).words
    said = at.replace("T", " ")
    assert f"Scheduled by operator to start at {said}:00 UTC." in words
    assert f"It starts at {said}:00 UTC, as operator scheduled it." in words
    assert len(events("run.scheduled")) == 1
    assert "Take off the schedule" in operator.run(run).buttons

    operator.press(run, "unschedule")
    assert "is off its schedule. It stays approved." in operator.said()
    assert "Take off the schedule" not in operator.run(run).buttons

    operator.press(run, "unschedule")
    assert "is not scheduled" in operator.said()


def test_a_time_that_cannot_be_is_told_at_the_form_and_nothing_typed_is_lost(
    place: people.Place, visitor: VisitorOf
) -> None:
    run = people.make_run(place, state="approved")
    operator = visitor("operator")

    nonsense, passed = (
        operator.press(run, "schedule", confirm_target=run.target.label, at="tomorrow"),
        operator.press(run, "schedule", at=typed(-2)),
    )

    assert (nonsense.status, passed.status) == (400, 400)
    assert "Give a date and a time in UTC" in nonsense.part("decide")
    assert 'value="tomorrow"' in nonsense.source
    assert "has passed. Give a time that lies ahead" in passed.part("decide")


def test_a_time_outside_of_the_windows_is_told_with_the_next_opening(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    windowing.opens_in(place.environment, 3)
    operator = visitor("operator")

    operator.press(run, "schedule", confirm_target=run.target.label, at=typed(1))

    assert "The next opening is" in operator.said()
    assert not events("run.scheduled")


def test_who_does_not_operate_has_no_such_button_and_is_refused(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="approved")
    dba = visitor("dba")

    assert "Schedule" not in dba.run(run).buttons
    assert dba.press(run, "schedule", confirm_target=run.target.label, at=typed(2)).status == 403
    assert dba.press(run, "unschedule").status == 403
    assert Visitor(None).press(run, "schedule", confirm_target=run.target.label, at=typed(2)).status == 302
    assert MigrationRun.objects.get(number=run.number).scheduled_at is None


def test_a_run_that_was_put_back_says_so_on_its_page(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="queued")
    windowing.closed(place.environment)
    attempts.claim(actor=people.WORKER, number=run.number)

    page = visitor("operator").run(run)

    assert "Put back before anything was touched." in page.section("status")
    assert "Schedule" in page.buttons
