"""The sweep: lost messages are sent again, and nothing is done twice for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from migrations_audit import dispatch
from migrations_audit.actions import sweeps
from migrations_audit.models import MigrationRun, Target, Worker
from migrations_audit.models.clock import database_now
from migrations_audit.queries import workers
from tests.domain import raw
from tests.people import WORKER, finish, make_place, make_run

pytestmark = pytest.mark.django_db

Sent = list[tuple[dispatch.Wake, dict[str, Any]]]


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What is handed to the dispatcher. What the dispatcher does with it is the subject of test_dispatch."""
    messages: Sent = []
    monkeypatch.setattr(dispatch, "after_commit", lambda wake, **values: messages.append((wake, values)))
    return messages


def age(run: MigrationRun, *, seconds: float, **columns: Any) -> None:
    """Let the run's last message be ``seconds`` old."""
    MigrationRun.objects.filter(number=run.number).update(
        dispatched_at=database_now() - timedelta(seconds=seconds), **columns
    )


def swept(sent: Sent, run: MigrationRun) -> list[dispatch.Wake]:
    """Sweep once; what was sent about ``run``."""
    sent.clear()
    sweeps.sweep(actor=WORKER)
    return [wake for wake, values in sent if values.get("number") == run.number]


@pytest.mark.parametrize(("state", "wake"), [("requested", dispatch.Wake.PLAN), ("queued", dispatch.Wake.EXECUTE)])
def test_a_message_that_nobody_took_is_sent_again(sent: Sent, state: str, wake: dispatch.Wake) -> None:
    run = make_run(make_place(), state=state)
    age(run, seconds=16)

    assert swept(sent, run) == [wake]
    run.refresh_from_db()
    assert run.dispatch_count == 2


def test_a_fresh_message_is_not_sent_again(sent: Sent) -> None:
    run = make_run(make_place(), state="queued")

    assert swept(sent, run) == []


def test_a_second_sweep_does_not_send_at_once_again(sent: Sent) -> None:
    run = make_run(make_place(), state="queued")
    age(run, seconds=16)
    swept(sent, run)

    assert swept(sent, run) == []


@pytest.mark.parametrize(
    ("count", "seconds", "again"), [(3, 40, False), (3, 50, True), (100, 59, False), (100, 61, True)]
)
def test_the_pause_grows_to_a_minute_and_no_further(sent: Sent, count: int, seconds: float, again: bool) -> None:
    run = make_run(make_place(), state="queued")
    age(run, seconds=seconds, dispatch_count=count)

    assert bool(swept(sent, run)) is again


def test_a_run_that_was_never_sent_is_sent(sent: Sent) -> None:
    run = make_run(make_place(), state="queued")
    MigrationRun.objects.filter(number=run.number).update(dispatched_at=None)

    assert swept(sent, run) == [dispatch.Wake.EXECUTE]


@pytest.mark.parametrize("state", ["planning", "awaiting_approval", "approved", "running"])
def test_what_waits_for_no_message_is_left_alone(sent: Sent, state: str) -> None:
    run = make_run(make_place(), state=state)
    age(run, seconds=3_600)

    assert swept(sent, run) == []


def test_a_run_whose_planner_was_lost_is_sent_to_be_planned_again(sent: Sent) -> None:
    run = make_run(make_place(), state="planning")
    age(run, seconds=16, lease_expires_at=database_now() - timedelta(seconds=1))

    assert swept(sent, run) == [dispatch.Wake.PLAN]


def test_an_ended_run_is_left_alone(sent: Sent) -> None:
    place = make_place()
    run = finish(place, make_run(place, state="running"))

    assert swept(sent, run) == []


def test_a_lost_run_is_sent_to_be_reconciled_and_not_again_at_once(sent: Sent) -> None:
    run = make_run(make_place(), state="running")
    MigrationRun.objects.filter(number=run.number).update(lease_expires_at=database_now() - timedelta(seconds=1))

    assert swept(sent, run) == [dispatch.Wake.RECONCILE]
    assert swept(sent, run) == []


def test_a_reconciliation_that_is_due_again_is_sent_again(sent: Sent) -> None:
    run = make_run(make_place(), state="running")
    second_ago = database_now() - timedelta(seconds=1)
    age(run, seconds=16, state="outcome_unknown", lease_expires_at=None, reconcile_after_at=second_ago)

    assert swept(sent, run) == [dispatch.Wake.RECONCILE]


@pytest.mark.parametrize("column", ["reconcile_after_at", "lease_expires_at"])
def test_a_reconciliation_that_is_not_due_or_under_way_is_not_sent(sent: Sent, column: str) -> None:
    run = make_run(make_place(), state="running")
    soon = database_now() + timedelta(seconds=5)
    age(run, seconds=3_600, state="outcome_unknown", **{"lease_expires_at": None, column: soon})

    assert swept(sent, run) == []


def test_messages_go_to_the_queue_of_the_environment_with_ids_only(sent: Sent) -> None:
    place = make_place(slug="staging", tier="staging")
    run = make_run(place, state="queued")
    age(run, seconds=16)

    swept(sent, run)

    assert (dispatch.Wake.EXECUTE, {"queue": "target-staging", "number": run.number}) in sent


def test_a_target_is_observed_when_it_is_due(sent: Sent) -> None:
    place = make_place(observe_every_s=120)
    sweeps.sweep(actor=WORKER)

    observe = (dispatch.Wake.OBSERVE, {"queue": "target-production", "target_id": place.target.pk})
    assert sent == [observe]
    place.target.refresh_from_db()
    assert place.target.next_observation_at is not None
    assert place.target.next_observation_at > database_now() + timedelta(seconds=100)


def test_a_target_that_is_not_due_is_not_observed(sent: Sent) -> None:
    place = make_place()
    Target.objects.filter(pk=place.target.pk).update(next_observation_at=database_now() + timedelta(seconds=5))

    sweeps.sweep(actor=WORKER)

    assert sent == []


def test_two_sweeps_do_not_work_at_once(sent: Sent) -> None:
    make_place()

    with raw.another_session() as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", sweeps.SWEEP_LOCK)
        assert sweeps.sweep(actor=WORKER) is False
        assert sent == []

    assert sweeps.sweep(actor=WORKER) is True


def test_a_sign_of_life_is_noted_and_renewed() -> None:
    sweeps.see_worker(name="worker a", queues=["target-staging"])
    first = Worker.objects.get(name="worker a").seen_at

    sweeps.see_worker(name="worker a", queues=["target-production"])

    worker = Worker.objects.get(name="worker a")
    assert worker.seen_at > first
    assert worker.queues == ["target-production"]


def test_a_worker_that_was_asked_to_end_takes_nothing_new_until_it_is_started_again() -> None:
    sweeps.see_worker(name="worker a", queues=["target-staging"])

    sweeps.see_worker_ending(name="worker a")
    asked = Worker.objects.get(name="worker a").ending_since_at
    sweeps.see_worker_ending(name="worker a")
    heard = workers.heard_queues(now=database_now())
    sweeps.see_worker(name="worker a", queues=["target-staging"])

    assert asked is not None
    assert heard == frozenset()
    assert workers.heard_queues(now=database_now()) == {"target-staging"}
    assert Worker.objects.get(name="worker a").ending_since_at is None
