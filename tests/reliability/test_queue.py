"""Group A of the faults: the broker and its messages. docs/reliability.md has the table."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from django.conf import settings
from django.db import transaction
from django.test import Client

from migrations_audit import dispatch
from migrations_audit.actions import moves
from migrations_audit.models import AuditEvent, MigrationRun, Worker
from tests import people
from tests.acceptance import portal as portals
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.reliability import brokers, truth
from tests.reliability.brokers import Broker
from tests.reliability.conftest import StartWorker
from tests.waiting import wait_for

USERS = 'op.execute("CREATE TABLE users (id int PRIMARY KEY)")'
LONG = f'{USERS}\nop.execute("SELECT pg_sleep(5)")'
BOUND_S = 8.0
"""A click that waits for the broker longer than its patience of 1.5 s would wait for ever."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    own = Broker(tmp_path_factory.mktemp("broker"))
    yield own
    own.stop()


@pytest.fixture(scope="module", autouse=True)
def _uses_it(broker: Broker) -> Iterator[None]:
    """This process, and every worker and web process that it starts, uses the broker of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", broker.url)
        patch.setattr(settings, "REDIS_URL", broker.url)
        patch.setattr(dispatch, "current_app", brokers.app_at(broker.url))
        patch.setattr(dispatch, "_client", None)
        yield


def approved(portal: Portal, url: str, up: str = USERS) -> tuple[people.Place, MigrationRun]:
    place = portal.place(url, truth.counted(url, up))
    run = portal.planned(place)
    people.approve_by_all(place, run.number, truth.digest_of(run))
    return place, run


def press_run(portal: Portal, place: people.Place, run: MigrationRun) -> httpx.Response:
    """Press Run now in the browser of the operator. Raises when there is no answer within the bound."""
    session = Client()
    session.force_login(place.people["operator"])
    cookie = session.cookies[settings.SESSION_COOKIE_NAME].value
    with httpx.Client(base_url=portal.web.url, timeout=BOUND_S, cookies={settings.SESSION_COOKIE_NAME: cookie}) as web:
        page = web.get(f"/runs/{run.number}/")
        (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[:1])
        form = {"csrfmiddlewaretoken": token, "digest": truth.digest_of(run), "confirm_target": run.target.label}
        return web.post(f"/runs/{run.number}/start", data=form, headers={"Referer": portal.web.url})


@pytest.fixture
def web(portal: Portal) -> Iterator[Portal]:
    portal.web.start()
    yield portal
    portal.web.stop()


@pytest.mark.parametrize("how", ["down", "frozen"])
def test_a_click_is_answered_while_the_broker_is_away_and_the_run_starts_when_it_is_back(
    sound: Portal, web: Portal, broker: Broker, make_target_database: MakeTargetDatabase, how: str
) -> None:
    """F1, F2."""
    url = make_target_database("f1")
    place, run = approved(sound, url)
    if how == "down":
        broker.kill()
        answer = press_run(web, place, run)
        broker.start()
    else:
        with broker.frozen():
            answer = press_run(web, place, run)

    assert answer.status_code == 303, answer.text[:500]
    assert sound.until(run.number, "applied").verdict == "verified"
    assert truth.executions(url) == 1
    truth.assert_nothing_lost(sound, url)


def test_a_message_that_landed_although_it_was_reported_lost_starts_nothing_twice(
    sound: Portal, broker: Broker, make_target_database: MakeTargetDatabase
) -> None:
    """F3: the connection is warm, so that the bytes lie in the frozen server's socket."""
    url = make_target_database("f3")
    place, run = approved(sound, url)

    with broker.frozen():
        truth.start(place, run)
    MigrationRun.objects.filter(number=run.number).update(dispatched_at=None)

    assert sound.until(run.number, "applied").verdict == "verified"
    assert truth.of_run(run.number).count("run.claimed") == 1
    truth.assert_nothing_lost(sound, url)


def test_a_web_process_killed_between_commit_and_message_loses_nothing(
    sound: Portal, make_target_database: MakeTargetDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F4."""
    url = make_target_database("f4")
    place, run = approved(sound, url)
    monkeypatch.setenv("PORTAL_FAILPOINTS", "after_commit_before_publish=kill")
    sound.web.start()
    monkeypatch.delenv("PORTAL_FAILPOINTS")

    with suppress(httpx.TransportError):
        press_run(sound, place, run)

    assert sound.web.process is not None
    assert sound.web.process.wait(20) == -signal.SIGKILL
    assert sound.until(run.number, "applied").verdict == "verified"
    assert truth.of_run(run.number).count("run.queued") == 1
    truth.assert_nothing_lost(sound, url)


def test_a_request_that_is_rolled_back_leaves_no_message(
    sound: Portal, broker: Broker, make_target_database: MakeTargetDatabase
) -> None:
    """F5."""
    url = make_target_database("f5")
    place, run = approved(sound, url)
    with broker.client() as client:
        before = client.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"]
        with transaction.atomic():
            truth.start(place, run)
            transaction.set_rollback(True)
        after = client.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"]

    assert after == before
    run.refresh_from_db()
    assert run.state == "approved"
    truth.assert_nothing_lost(sound, url)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["restarted empty", "flushed"])
def test_a_broker_that_forgets_everything_loses_no_run(
    portal: Portal, start_worker: StartWorker, broker: Broker, make_target_database: MakeTargetDatabase, how: str
) -> None:
    """F6, F7: one run is executing, others wait in the queue; all end as they should, each executed once."""
    running_url, waiting = make_target_database("f6"), [make_target_database("f6_waits") for _ in range(3)]
    start_worker()
    place, run = approved(portal, running_url, LONG)
    others = [approved(portal, url) for url in waiting]
    truth.start(place, run)
    wait_for(lambda: truth.active(running_url), within=30, what="the revision to sleep")
    for other_place, other in others:
        truth.start(other_place, other)

    if how == "flushed":
        broker.empty()
    else:
        broker.kill()
        broker.start()

    for number in (run.number, *(other.number for _, other in others)):
        assert portal.until(number, "applied").verdict == "verified"
    truth.assert_nothing_lost(portal, running_url, *waiting)


def test_a_message_that_a_dying_worker_had_taken_is_sent_again(
    portal: Portal, start_worker: StartWorker, broker: Broker, make_target_database: MakeTargetDatabase
) -> None:
    """F8: the broker has handed the message out, and the worker dies before it has looked at it."""
    url = make_target_database("f8")
    dying = start_worker()
    place, run = approved(portal, url)
    os.killpg(dying.pid, signal.SIGSTOP)
    truth.start(place, run)
    with broker.client() as client:
        wait_for(lambda: not client.llen(place.environment.queue), what="the message to be handed out")
    portal.workers.kill(dying)

    start_worker()

    assert portal.until(run.number, "applied").dispatch_count >= 2
    truth.assert_nothing_lost(portal, url)


def test_messages_delivered_again_while_it_runs_and_after_it_ended_are_refused(
    sound: Portal, broker: Broker, make_target_database: MakeTargetDatabase
) -> None:
    """F9, F10."""
    url = make_target_database("f9")
    place, run = approved(sound, url, LONG)
    truth.start(place, run)
    wait_for(lambda: truth.active(url), within=30, what="the revision to sleep")
    task, queue = "migrations_audit.execute_run", place.environment.queue
    kwargs = {"number": run.number}

    broker.push(queue, brokers.message(task, queue, kwargs=kwargs))
    wait_for(lambda: f"Not claimed: Run {run.number} " in sound.workers.said(), what="the copy to be refused")
    ended = sound.until(run.number, "applied")
    broker.push(queue, brokers.message(task, queue, kwargs=kwargs))
    wait_for(lambda: "is applied." in sound.workers.said(), what="the late copy to be refused")

    run.refresh_from_db()
    assert (run.state, run.finished_at) == ("applied", ended.finished_at)
    assert truth.executions(url) == 1
    truth.assert_nothing_lost(sound, url)


def test_two_beats_send_no_run_twice(
    sound: Portal, make_target_database: MakeTargetDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F11: with two sweeps a second, a waiting run is sent once per pause, and started once."""
    url = make_target_database("f11")
    place, run = approved(sound, url)
    with sound.workers.beating(2):
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "_send", lambda *_, **__: None)
            truth.start(place, run)

        wait_for(lambda: truth.state_of(run) == "applied", within=60, what="the run to be swept up and applied")
    assert run.dispatch_count >= 2
    assert truth.of_run(run.number).count("run.claimed") == 1
    truth.assert_nothing_lost(sound, url)


FORGED = {
    "a run that does not exist": ("migrations_audit.execute_run", {"number": 10**9}),
    "a number that is none": ("migrations_audit.execute_run", {"number": "1; DROP TABLE x"}),
    "a number beyond every number": ("migrations_audit.execute_run", {"number": 10**40}),
    "no number": ("migrations_audit.execute_run", {}),
    "no keywords": ("migrations_audit.execute_run", None),
    "a target that does not exist": ("migrations_audit.observe_target", {"target_id": 10**9}),
    "a task of Celery's own": ("celery.backend_cleanup", {}),
    "a task that does not exist": ("os.system", {"command": "true"}),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_message_executes_nothing_and_the_worker_goes_on(sound: Portal, broker: Broker, what: str) -> None:
    """F12."""
    task, kwargs = FORGED[what]
    process = sound.workers.processes[-1]

    broker.push(portals.QUEUES[0], brokers.message(task, portals.QUEUES[0], kwargs=kwargs))

    assert_it_works_on(sound, broker)
    assert process.poll() is None


@pytest.mark.parametrize(
    "raw",
    [
        brokers.message("migrations_audit.sweep", "q", kwargs={}, body=b"\x80\x04cos\nsystem\n", **{"lang": "py"}),
        brokers.message("migrations_audit.sweep", "q", kwargs={"x": "y" * 20_000_000}),
        "no JSON at all",
        "[1, 2]",
        "{}",
        '{"body": "e30=", "properties": {}}',
    ],
    ids=["a pickle", "twenty megabytes", "no JSON", "a list", "an empty object", "no delivery information"],
)
def test_a_message_of_another_kind_executes_nothing_and_the_worker_goes_on(
    sound: Portal, broker: Broker, raw: str
) -> None:
    """F12."""
    process = sound.workers.processes[-1]

    broker.push(portals.QUEUES[0], raw)

    assert_it_works_on(sound, broker)
    assert process.poll() is None


def test_a_message_about_a_run_that_does_not_exist_leaves_an_event(sound: Portal, broker: Broker) -> None:
    """F12: the portal names only what is committed, so somebody else wrote to the broker."""
    number = 987_654_321

    broker.push(
        portals.QUEUES[0],
        brokers.message("migrations_audit.execute_run", portals.QUEUES[0], kwargs={"number": number, "extra": "x"}),
    )

    denied = AuditEvent.objects.filter(action="access.denied", object_id=f"number {number}")
    wait_for(denied.exists, what="the event")
    assert "A message about something that does not exist" in sound.workers.said()


def assert_it_works_on(portal: Portal, broker: Broker) -> None:
    """A sweep, sent behind what was sent before it to the same queue, is worked on."""
    sweep = brokers.message("migrations_audit.sweep", portals.QUEUES[0], kwargs={})
    identifier = re.findall(r'"id": "(\w+)"', sweep)[0]
    broker.push(portals.QUEUES[0], sweep)
    wait_for(lambda: f"[{identifier}] succeeded" in portal.workers.said(), what="a task after it")
    truth.assert_nothing_lost(portal)


@pytest.mark.slow
def test_without_a_worker_the_run_stays_queued_and_its_page_says_why(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F13."""
    url = make_target_database("f13")
    only = start_worker()
    place, run = approved(portal, url)
    portal.workers.kill(only)
    truth.start(place, run)
    Worker.objects.update(seen_at=run.requested_at.replace(year=2020))
    operator = Client()
    operator.force_login(place.people["operator"])

    page = operator.get(f"/runs/{run.number}/").content.decode()
    dashboard = operator.get("/").content.decode()

    assert truth.state_of(run) == "queued"
    assert f"No live worker consumes the queue <code>{place.environment.queue}</code>" in page
    assert "no live worker consumes the queue" in dashboard
    start_worker()
    assert portal.until(run.number, "applied").verdict == "verified"
    truth.assert_nothing_lost(portal, url)


def test_a_run_that_kills_its_worker_is_not_tried_again_and_others_go_on(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F14."""
    url, other_url = make_target_database("f14"), make_target_database("f14_other")
    start_worker("before_runner=kill")
    place, run = approved(portal, url)
    truth.start(place, run)

    ended = portal.until(run.number, "failed", within=40)
    other = portal.planned(portal.place(other_url, runnable.chain("users")))

    assert ended.reason_code == "no_change"
    assert truth.of_run(run.number).count("run.claimed") == 1
    assert truth.executions(url) == 0
    assert other.state == "awaiting_approval"
    with pytest.raises(moves.StaleRun):
        truth.start(place, run)
    truth.assert_nothing_lost(portal, url)
