"""The isolation of a run from its environment's demand to its page: recorded, shown, or the reason for a refusal."""

from __future__ import annotations

import sys

import pytest
from django.test import Client
from pytest_django import Settings

from migrations_audit.engine import isolation
from migrations_audit.execution import places
from migrations_audit.models import AuditEvent, LogLine
from migrations_audit.states import Isolation
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

BEST = isolation.choose(isolation.Wish(), interpreter=sys.executable).level


def test_a_run_gets_the_best_level_and_says_so(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    place = portal.place(make_target_database(), runnable.chain("alpha"))

    run = portal.ended(place)

    assert (run.state, run.verdict, run.isolation) == ("applied", "verified", BEST.value)
    event = AuditEvent.objects.get(action="run.confined", object_id=str(run.number))
    assert f'"isolation":"{BEST.value}"' in event.body
    assert LogLine.objects.filter(run=run, text__startswith="Runner:", text__endswith=f"isolation {BEST}").exists()
    assert f"Isolation: {BEST}" in portal.workers.said()
    browser = Client()
    browser.force_login(place.people["viewer"])
    page = browser.get(f"/runs/{run.number}/").content.decode()
    assert f"<dt>Isolation</dt><dd>{run.get_isolation_display()}</dd>" in page


def test_a_run_that_was_killed_from_outside_says_so_with_its_memory_limit(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    up = """
        import os, signal
        op.execute("CREATE TABLE alpha (id int)")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    place = portal.place(make_target_database(), [runnable.Script("r1", up)])

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("failed", "unverified")
    assert "ended by signal 9, which the portal did not send" in run.sentence
    assert "2048 MiB" in run.sentence


def test_a_run_out_of_memory_says_so_with_its_limit(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    place = portal.place(make_target_database(), [runnable.Script("r1", "bytearray(4 * 1024**3)")])

    run = portal.ended(place)

    assert (run.state, run.verdict, run.reason_code) == ("failed", "unverified", "no_change")
    assert "Out of memory: a run may use 2048 MiB." in run.sentence


@pytest.mark.parametrize("demanded", ["", "none"])
def test_nothing_demanded_is_met_by_every_worker(settings: Settings, demanded: str) -> None:
    settings.PORTAL_ISOLATION = "none"

    assert places.confinement(demanded, interpreter=sys.executable).level is Isolation.NONE


def test_a_demand_above_the_worker_is_an_error_that_names_both(settings: Settings) -> None:
    settings.PORTAL_ISOLATION = "none"

    with pytest.raises(
        isolation.IsolationMissing, match="demands isolation separate_user or more, and this worker has none"
    ):
        places.confinement("separate_user", interpreter=sys.executable)


def test_a_run_is_refused_where_its_demand_does_not_work(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    place = portal.place(make_target_database(), runnable.chain("alpha"))
    place.environment.isolation = Isolation.BUBBLEWRAP.value
    place.environment.save(update_fields=["isolation"])
    (before,) = [each for each in portal.workers.processes if each.poll() is None]
    portal.workers.kill(before)
    portal.workers.start(PORTAL_ISOLATION="none")

    run = portal.planned(place)

    assert (run.state, run.reason_code) == ("plan_failed", "isolation_missing")
    assert "demands isolation bubblewrap or more, and this worker has none" in run.sentence
