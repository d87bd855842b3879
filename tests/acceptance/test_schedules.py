"""A run that was given a time starts by beat, broker and worker alone; nobody presses anything."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import psycopg
import pytest

from migrations_audit.actions import schedules
from migrations_audit.models import AuditEvent, MigrationRun
from migrations_audit.models.clock import database_now
from tests import people, windowing
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.reliability import truth
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


def scheduled(portal: Portal, url: str, *, seconds: int) -> tuple[people.Place, MigrationRun]:
    """An approved run to which the operator gave a time so many seconds from now."""
    place = portal.place(url, runnable.chain("users"))
    run = portal.planned(place)
    assert run.plan is not None, run.sentence
    people.approve_by_all(place, run.number, run.plan.digest)
    at = database_now() + timedelta(seconds=seconds)
    operator = place.actor("operator")
    return place, schedules.schedule(
        actor=operator, number=run.number, digest=run.plan.digest, at=at, confirm=run.target.label
    )


def tables(url: str) -> int:
    with psycopg.connect(url) as target:
        row = target.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert row is not None
    return int(row[0])


def test_it_starts_at_its_time_once_and_in_the_name_of_whoever_scheduled_it(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("scheduled")

    with portal.workers.beating(2):
        _, run = scheduled(portal, url, seconds=4)
        at = run.scheduled_at
        wait_for(lambda: truth.state_of(run) == "applied", within=60, what="the run to start at its time")

    run.refresh_from_db()
    assert at is not None
    assert run.queued_at is not None
    assert run.queued_at >= at
    assert (run.verdict, run.scheduled_at, run.queued_by_name) == ("verified", None, "operator")
    queued = AuditEvent.objects.filter(action="run.queued", object_id=str(run.number))
    assert [event.actor for event in queued] == ["operator"]
    assert truth.of_run(run.number).count("run.claimed") == 1


@pytest.mark.parametrize(("closing", "code"), [("window", "window_closed"), ("freeze", "frozen")])
def test_it_is_taken_off_and_touches_nothing_when_its_time_is_closed_by_then(
    portal: Portal, make_target_database: MakeTargetDatabase, closing: str, code: str
) -> None:
    url = make_target_database("closed")
    place, run = scheduled(portal, url, seconds=3)
    with ExitStack() as meanwhile:
        if closing == "freeze":
            meanwhile.enter_context(windowing.frozen_meanwhile(place))
        else:
            windowing.closed(place.environment)
        meanwhile.enter_context(portal.workers.beating())
        wait_for(lambda: not MigrationRun.objects.get(pk=run.pk).scheduled_at, within=60, what="its time to be over")

    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("approved", code)
    assert run.sentence.startswith("Not started at ")
    assert run.sentence.endswith("It is approved as before.")
    assert tables(url) == 0
