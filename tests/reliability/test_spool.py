"""F32: the portal's database is away when a run's result is to be written. docs/reliability.md has the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from migrations_audit.engine import urls
from migrations_audit.models import AuditEvent, MigrationRun
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine.proxy import Proxy
from tests.reliability import truth
from tests.reliability.conftest import StartWorker
from tests.waiting import wait_for

USERS = 'op.execute("CREATE TABLE users (id int PRIMARY KEY)")'

REACHED = "Failpoint after_runner"


@pytest.fixture
def between(portal: Portal) -> Iterator[Proxy]:
    """What stands between the worker and the portal's database."""
    proxy = Proxy(urls.parse(portal.workers.database_url), b"no such bytes", lambda _: None)
    yield proxy
    proxy.close()


def cut_after_the_runner(
    portal: Portal, start_worker: StartWorker, between: Proxy, url: str, spool: Path
) -> MigrationRun:
    """A run whose runner has ended well, and whose worker does not reach the portal's database since."""
    portal.workers.start()
    place = portal.place(url, truth.counted(url, USERS))
    run = portal.planned(place)
    people.approve_by_all(place, run.number, truth.digest_of(run))
    portal.workers.stop()
    parts = urlsplit(portal.workers.database_url)
    there = urlunsplit(parts._replace(netloc=truth.netloc(portal.workers.database_url, between.port)))
    earlier = portal.workers.said().count(REACHED)
    start_worker("after_runner=wait:2", DATABASE_URL=there, PORTAL_SPOOL=str(spool), PORTAL_LEASE_S="20")
    truth.start(place, run)
    wait_for(lambda: portal.workers.said().count(REACHED) > earlier, within=60, what="the runner to end")
    between.cut()
    wait_for(lambda: list(spool.glob("*.report.json")), within=30, what="the report on the disk")
    return run


def test_a_result_that_the_portals_database_does_not_take_is_written_when_it_is_back(
    portal: Portal,
    start_worker: StartWorker,
    make_target_database: MakeTargetDatabase,
    between: Proxy,
    tmp_path: Path,
) -> None:
    url = make_target_database("f32")
    run = cut_after_the_runner(portal, start_worker, between, url, tmp_path)

    between.mend()

    ended = portal.until(run.number, "applied")
    assert (ended.verdict, truth.executions(url)) == ("verified", 1)
    assert not AuditEvent.objects.filter(action="run.worker_lost", object_id=str(run.number)).exists()
    wait_for(lambda: not list(tmp_path.glob("*.report.json")), what="the report to be taken away")
    truth.assert_nothing_lost(portal, url)


def test_a_worker_that_dies_with_its_result_leaves_a_report_and_the_target_decides(
    portal: Portal,
    start_worker: StartWorker,
    make_target_database: MakeTargetDatabase,
    between: Proxy,
    tmp_path: Path,
) -> None:
    url = make_target_database("f32")
    run = cut_after_the_runner(portal, start_worker, between, url, tmp_path)
    portal.workers.stop()

    start_worker(PORTAL_SPOOL=str(tmp_path))

    ended = portal.until(run.number, "applied")
    assert (ended.verdict, truth.executions(url)) == ("verified", 1)
    assert "Confirmed by reconciliation" in ended.sentence
    told = AuditEvent.objects.filter(action="run.report_delivered", object_id=str(run.number))
    wait_for(lambda: told.exists(), within=30, what="the report to be delivered")
    truth.assert_nothing_lost(portal, url)
