"""F63: a worker whose clock is wrong. Leases and expiries go by the clock of the portal's database alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from migrations_audit.models.clock import database_now
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.reliability import truth
from tests.reliability.conftest import StartWorker
from tests.waiting import wait_for

SKEWED = Path(__file__).parent / "skewed"


@pytest.mark.slow
@pytest.mark.parametrize("skew_s", [600, -600])
def test_a_worker_whose_clock_is_ten_minutes_off_works_as_any_other(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase, skew_s: int
) -> None:
    url = make_target_database("f63")
    start_worker(PYTHONPATH=str(SKEWED), PORTAL_TEST_SKEW_S=str(skew_s))
    up = 'op.execute("CREATE TABLE users (id int)")\nop.execute("SELECT pg_sleep(6)")'
    run = portal.started(portal.place(url, truth.counted(url, up)))
    wait_for(lambda: truth.active(url), within=30, what="the revision to sleep")
    run.refresh_from_db()
    assert run.lease_expires_at is not None
    assert abs(run.lease_expires_at - database_now()) < timedelta(seconds=60)

    ended = portal.until(run.number, "applied", within=40)

    assert ended.verdict == "verified"
    assert "run.worker_lost" not in truth.of_run(run.number)
    assert ended.finished_at is not None
    assert abs(ended.finished_at - database_now()) < timedelta(seconds=60)
    truth.assert_nothing_lost(portal, url)
