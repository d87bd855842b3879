"""Windows, the freeze and schedules through the API."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from tests import people, windowing
from tests.domain import trail
from tests.faces.api.caller import Answer, Caller


def body(run: MigrationRun, *, hours: float = 2) -> dict[str, str]:
    assert run.plan is not None
    at = (database_now() + timedelta(hours=hours)).isoformat()
    return {"digest": run.plan.digest, "at": at, "confirm_target": run.target.label}


def schedule(caller: Caller, run: MigrationRun, **changes: object) -> Answer:
    return caller.post(f"runs/{run.number}/schedule", body(run) | changes)


def test_a_pipeline_schedules_a_run_and_takes_it_off(place: people.Place, operator: Caller) -> None:
    run = people.make_run(place, state="approved")

    answer = schedule(operator, run)

    assert (answer.status, answer.body["state"]) == (200, "approved")
    assert answer.body["scheduled_at"] is not None
    assert answer.body["scheduled_by"].startswith("operator (token ")
    assert trail.last("run.scheduled").facts["actor"]["kind"] == "token"

    answer = operator.post(f"runs/{run.number}/unschedule")
    assert (answer.status, answer.body["scheduled_at"], answer.body["scheduled_by"]) == (200, None, "")
    again = operator.post(f"runs/{run.number}/unschedule")
    assert (again.status, again.code) == (409, "not_scheduled")


def test_a_start_in_a_closed_window_and_in_a_freeze_is_409_with_the_next_opening(
    place: people.Place, operator: Caller
) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None
    window = windowing.opens_in(place.environment, 3)

    answer = operator.post(f"runs/{run.number}/start", {"digest": run.plan.digest})
    assert (answer.status, answer.code) == (409, "window_closed")
    assert "The next opening is" in answer.error["message"]
    answer = schedule(operator, run)
    assert (answer.status, answer.code) == (409, "window_closed")

    window.delete()
    windowing.frozen(place)
    answer = operator.post(f"runs/{run.number}/start", {"digest": run.plan.digest})
    assert (answer.status, answer.code) == (409, "frozen")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"at": "2026-11-30T22:00:00"}, 422, "invalid"),
        ({"at": "tomorrow"}, 422, "invalid"),
        ({"at": "2020-01-01T00:00:00Z"}, 422, "invalid"),
        ({"digest": "a" * 64}, 409, "plan_changed"),
        ({"scheduled_as": "dba"}, 422, "invalid"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(
    place: people.Place, operator: Caller, change: dict[str, str], status: int, code: str
) -> None:
    run = people.make_run(place, state="approved")

    answer = schedule(operator, run, **change)

    assert (answer.status, answer.code) == (status, code)
    run.refresh_from_db()
    assert run.scheduled_at is None


def test_who_does_not_operate_and_a_token_without_the_scope_schedule_nothing(
    place: people.Place, dev: Caller, outsider: Caller
) -> None:
    run = people.make_run(place, state="approved")

    assert schedule(dev, run).code == "missing_role"
    assert schedule(outsider, run).status == 404
    assert schedule(Caller.of(place, "operator", scopes=["read", "request"]), run).code == "missing_scope"
    assert schedule(Caller(), run).status == 401
    assert dev.post(f"runs/{run.number}/unschedule").code == "missing_role"


def test_the_freeze_is_shown_and_not_made(place: people.Place, dev: Caller) -> None:
    answer = dev.get("freeze")
    assert (answer.status, answer.body["is_frozen"], answer.body["sentence"]) == (
        200,
        False,
        "The portal is not frozen.",
    )

    windowing.frozen(place)

    shown = dev.get("freeze").body
    assert (shown["is_frozen"], shown["by"], shown["reason"], shown["until"]) == (True, "admin", "Incident 7.", None)
    assert Caller.of(place, "admin").post("freeze", {"reason": "x"}).status == 405
    assert Caller().get("freeze").status == 401
    assert Caller.of(place, "dev", scopes=["request"]).get("freeze").code == "missing_scope"
