"""The dispatcher: a wake-up after commit, and a broker that is down or frozen costs a moment and never an answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connections, transaction
from pytest_django import DjangoCaptureOnCommitCallbacks

from migrations_audit import dispatch
from migrations_audit.actions import runs, sweeps
from migrations_audit.dispatch import Wake
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from tests.domain import brokers, trail
from tests.people import WORKER, Place, make_place
from tests.waiting import wait_for


@pytest.fixture
def queue() -> Iterator[str]:
    """A queue of this test alone."""
    name = f"test-{secrets.token_hex(8)}"
    yield name
    brokers.empty(name)


@pytest.fixture(params=["refusing", "frozen"])
def bad_broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dispatcher's broker neither takes nor, in one of the two cases, refuses a message."""
    if request.param == "refusing":
        url = brokers.refusing()
        monkeypatch.setattr(dispatch, "current_app", brokers.app_at(url))
        yield url
        return
    with brokers.frozen() as url:
        monkeypatch.setattr(dispatch, "current_app", brokers.app_at(url))
        yield url


@pytest.mark.django_db
def test_a_message_is_sent_after_the_commit_with_its_ids(
    queue: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        dispatch.after_commit(Wake.EXECUTE, queue=queue, number=7)
        assert brokers.messages(queue) == []

    for callback in callbacks:
        callback()

    assert brokers.messages(queue) == [("migrations_audit.execute_run", {"number": 7})]


@pytest.mark.django_db
@pytest.mark.usefixtures("real_transactions")
def test_a_rollback_sends_nothing(queue: str) -> None:
    with transaction.atomic():
        dispatch.after_commit(Wake.EXECUTE, queue=queue, number=7)
        transaction.set_rollback(True)

    dispatch.after_commit(Wake.OBSERVE, queue=queue, target_id=8)
    assert brokers.messages(queue) == [("migrations_audit.observe_target", {"target_id": 8})]


@pytest.mark.django_db
def test_a_message_that_is_no_use_later_expires(
    queue: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        dispatch.after_commit(Wake.OBSERVE, queue=queue, target_id=1)

    with redis.Redis.from_url(django_settings.REDIS_URL) as broker:
        raw = broker.lindex(queue, 0)
    assert json.loads(raw)["headers"]["expires"] is not None


@pytest.mark.django_db
def test_a_bad_broker_raises_nothing_and_is_not_waited_for(
    bad_broker: str,
    queue: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with django_capture_on_commit_callbacks() as callbacks:
        dispatch.after_commit(Wake.EXECUTE, queue=queue, number=7)

    brokers.bounded(callbacks[0])

    assert "the sweep will send" in caplog.text
    assert bad_broker not in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_transactions")
def test_a_request_stands_although_the_broker_is_bad_and_the_sweep_sends_it_when_it_is_back(
    bad_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place()

    number = brokers.bounded(partial(_request, place))

    run = MigrationRun.objects.get(number=number)
    assert (run.state, trail.of_run(run)) == ("requested", ["run.requested"])
    assert brokers.messages(place.environment.queue) == []
    monkeypatch.undo()
    MigrationRun.objects.filter(number=number).update(dispatched_at=database_now() - timedelta(seconds=60))
    sweeps.sweep(actor=WORKER)
    assert ("migrations_audit.plan_run", {"number": number}) in brokers.messages(place.environment.queue)


@pytest.mark.django_db
def test_open_pages_are_told_over_the_channel_of_the_run() -> None:
    number = secrets.randbelow(2**31)
    with redis.Redis.from_url(django_settings.REDIS_URL) as client, client.pubsub() as listener:
        listener.subscribe(dispatch.channel(number))
        wait_for(lambda: listener.get_message(timeout=0.1), what="the subscription")

        dispatch.announce(number)

        heard = wait_for(lambda: listener.get_message(timeout=0.1), what="the nudge")
    assert heard["type"] == "message"


@pytest.mark.parametrize("kind", ["refusing", "frozen"])
def test_a_nudge_that_nobody_takes_is_not_waited_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with brokers.frozen() as frozen:
        url = frozen if kind == "frozen" else brokers.refusing()
        client = redis.Redis.from_url(url, socket_timeout=None, socket_connect_timeout=None)
        monkeypatch.setattr(dispatch, "_client", client)

        brokers.bounded(partial(dispatch.announce, 1))

    client.close()


def _request(place: Place) -> int:
    try:
        actor = place.actor("dev")
        return runs.request(actor=actor, target_id=place.target.pk, revision="head", reason="While it is down.").number
    finally:
        connections.close_all()
