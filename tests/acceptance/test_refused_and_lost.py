"""A worker that dies after its runner refused: what somebody else did meanwhile is not told as the run's own work."""

from __future__ import annotations

import psycopg
import pytest

from migrations_audit.actions import runs
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.waiting import wait_for


@pytest.mark.slow
def test_what_somebody_else_applied_is_not_verified_for_a_run_that_was_refused_and_lost(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("refused_and_lost")
    place = portal.place(url, runnable.chain("users"))
    run = portal.planned(place)
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    portal.workers.stop()
    portal.workers.start(PORTAL_FAILPOINTS="before_runner=wait:5;before_finish=kill")
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)
    wait_for(lambda: "Failpoint before_runner" in portal.workers.said(), what="the end of the preflight")

    with psycopg.connect(url) as by_hand:
        by_hand.execute("CREATE TABLE users (id int PRIMARY KEY)")
        by_hand.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        by_hand.execute("INSERT INTO alembic_version VALUES ('r1')")
    ended = portal.until(run.number, "applied", "failed", "error", "refused")

    assert "Failpoint before_finish" in portal.workers.said()
    assert (ended.state, ended.verdict, ended.reason_code) == ("error", "unverified", "nothing_sent"), ended.sentence
