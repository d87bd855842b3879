"""Plan again, on the page of a run that ended without what it was asked for."""

from __future__ import annotations

import pytest

from migrations_audit.actions import runs
from migrations_audit.models import Membership, MigrationRun
from tests import people
from tests.domain import raw
from tests.faces.web.visitor import VisitorOf, events


def cancelled(place: people.Place) -> MigrationRun:
    run = people.make_run(place, state="queued", reason="Endpoints answer 500.", ticket="OPS-7")
    runs.cancel(actor=place.actor("operator"), number=run.number)
    return MigrationRun.objects.select_related("plan").get(number=run.number)


def test_the_same_is_asked_for_once_however_often_it_is_pressed(place: people.Place, visitor: VisitorOf) -> None:
    run, dev = cancelled(place), visitor("dev")
    assert "Plan again" in dev.run(run).buttons

    answers = [dev.press(run, "plan-again") for _ in range(2)]

    new = MigrationRun.objects.exclude(number=run.number).get()
    assert {answer.location for answer in answers} == {f"/runs/{new.number}/"}
    for name in ("target_id", "operation", "requested", "reason", "ticket", "rolls_back_id"):
        assert getattr(new, name) == getattr(run, name)
    assert (new.state, new.requester_name, new.plan) == ("requested", "dev", None)
    assert len(events("run.requested")) == 2


def test_somebody_else_who_may_request_asks_in_their_own_name(place: people.Place, visitor: VisitorOf) -> None:
    run = cancelled(place)
    group = place.people["operator"].groups.get()
    Membership.objects.create(environment=place.environment, group=group, role="requester")

    visitor("operator").press(run, "plan-again")

    assert MigrationRun.objects.exclude(number=run.number).get().requester == place.people["operator"]


@pytest.mark.parametrize("who", ["viewer", "operator", "dba"])
def test_others_see_no_button_and_are_refused(place: people.Place, visitor: VisitorOf, who: str) -> None:
    run = cancelled(place)
    person = visitor(who)

    assert "Plan again" not in person.run(run).buttons
    assert person.press(run, "plan-again").status == 403
    assert MigrationRun.objects.count() == 1


def test_nobody_is_told_of_a_run_that_they_may_not_see(place: people.Place, visitor: VisitorOf) -> None:
    assert visitor("outsider").press(cancelled(place), "plan-again").status == 404


@pytest.mark.parametrize("state", ["requested", "awaiting_approval", "approved", "queued", "running"])
def test_a_run_that_has_not_ended_is_not_planned_again(place: people.Place, visitor: VisitorOf, state: str) -> None:
    run = people.make_run(place, state=state)

    assert "Plan again" not in visitor("dev").run(run).buttons


def test_an_open_request_for_the_same_is_named(place: people.Place, visitor: VisitorOf) -> None:
    run = cancelled(place)
    other, dev = people.make_run(place), visitor("dev")

    dev.press(run, "plan-again")

    assert f"{other} already asks for upgrade to head." in dev.said()


def test_after_a_contradiction_planning_the_same_is_not_offered(place: people.Place, visitor: VisitorOf) -> None:
    run = cancelled(place)
    raw.put(run, reason_code="contradicted")

    assert "Plan again" not in visitor("dev").run(run).buttons
