"""What the sweep does: send lost messages again, expire, start what is due, take note of lost workers.

Each is harmless when done twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from migrations_audit import dispatch, states
from migrations_audit.actions import attempts, audit, freezes, moves, rehearsals, schedules
from migrations_audit.actors import Actor
from migrations_audit.models import MigrationRun, Rehearsal, Target, Worker
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState

logger = logging.getLogger(__name__)

SWEEP_LOCK = (0x4F50, 2)
LONGEST_RESEND_S = 60
BATCH = 200


def sweep(*, actor: Actor) -> bool:
    """Do all of it once. False when another sweep is at work: beat is not a singleton, and need not be.

    Each run is handled in a transaction of its own: an event holds the chain's lock to the end of its transaction, and a sweep
    that held it while it waited for the next run's row could block a person's click and be blocked by it. A row that somebody
    else holds is left to the next sweep: whoever holds it may hang, and this one would with it.
    """
    with _alone() as alone:
        if not alone:
            return False
        for number in _overdue(RunState.AWAITING_APPROVAL, RunState.APPROVED):
            _unless_the_chain_is_held(_expire, actor=actor, number=number)
        _thaw_if_over(actor)
        for number in schedules.due()[:BATCH]:
            _unless_the_chain_is_held(schedules.start_due, actor=actor, number=number)
        for number in _leases_over():
            _unless_the_chain_is_held(_lose, actor=actor, number=number)
        _resend()
        _resend_rehearsals()
        _observe_due()
    return True


@contextmanager
def _alone() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", SWEEP_LOCK)
        (mine,) = cursor.fetchone()
    try:
        yield mine
    finally:
        if mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", SWEEP_LOCK)


def see_worker(*, name: str, queues: list[str]) -> None:
    """Note a worker's sign of life."""
    Worker.objects.update_or_create(
        name=name, defaults={"queues": queues, "seen_at": database_now(), "ending_since_at": None}
    )


def see_worker_ending(*, name: str) -> None:
    """Note that a worker was asked to end: it finishes what it has, and whoever waits for that is told."""
    Worker.objects.filter(name=name, ending_since_at__isnull=True).update(ending_since_at=database_now())


def _unless_the_chain_is_held(act: Callable[..., None], *, actor: Actor, number: int) -> None:
    """The next sweep does it then; what needs no event must not wait for it."""
    try:
        act(actor=actor, number=number)
    except audit.AuditUnavailable:
        logger.warning("Run %s is left to the next sweep: the audit chain is held.", number)


def _thaw_if_over(actor: Actor) -> None:
    try:
        freezes.thaw_overdue(actor=actor)
    except audit.AuditUnavailable:
        logger.warning("The end of a freeze is left to the next sweep: the audit chain is held.")


def _overdue(*states: RunState) -> list[int]:
    runs = MigrationRun.objects.filter(state__in=[state.value for state in states], expires_at__lte=database_now())
    return list(runs.order_by("number").values_list("number", flat=True)[:BATCH])


@audit.action
def _expire(*, actor: Actor, number: int) -> None:
    run = moves.lock_if_free(number)
    if run is None:
        return
    overdue = run.expires_at is not None and run.expires_at <= database_now()
    if not overdue or RunState.EXPIRED not in states.MOVES[run.run_state]:
        return
    moves.move(
        run,
        to=RunState.EXPIRED,
        sentence=f"Expired at {run.expires_at:%Y-%m-%d %H:%M} UTC before it was started. Request it again.",
        finished_at=database_now(),
    )
    audit.record_run(actor=actor, action="run.expired", run=run)


def _leases_over() -> list[int]:
    runs = MigrationRun.objects.filter(state=RunState.RUNNING.value, lease_expires_at__lte=database_now())
    return list(runs.order_by("number").values_list("number", flat=True)[:BATCH])


@audit.action
def _lose(*, actor: Actor, number: int) -> None:
    """A run whose lease is over has an unknown outcome: nobody guesses, a reconciliation reads the target."""
    run = moves.lock_if_free(number)
    if run is None or run.run_state is not RunState.RUNNING:
        return
    if run.lease_expires_at is None or run.lease_expires_at > database_now():
        return
    sentence = (
        f"{run.worker} stopped answering in phase {run.get_phase_display()}. What reached {run.target} is unknown until "
        "its sessions are ended and it has been read. Nothing else runs there meanwhile."
    )
    moves.move(
        run,
        to=RunState.OUTCOME_UNKNOWN,
        sentence=sentence,
        reason_code="worker_lost",
        **attempts.handed_over(run, at=database_now()),
    )
    audit.record_run(actor=actor, action="run.worker_lost", run=run, worker=run.worker, phase=run.phase)


_WAKES = {
    RunState.REQUESTED: dispatch.Wake.PLAN,
    RunState.PLANNING: dispatch.Wake.PLAN,
    RunState.QUEUED: dispatch.Wake.EXECUTE,
    RunState.OUTCOME_UNKNOWN: dispatch.Wake.RECONCILE,
}


def _resend() -> None:
    """Wake workers for what waits for one. A pause that grows keeps a queue without a worker from filling."""
    now = database_now()
    late = now - timedelta(seconds=settings.PORTAL_RESEND_S)
    nobody = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lte=now)
    due = Q(reconcile_after_at__isnull=True) | Q(reconcile_after_at__lte=now)
    waiting = Q(state__in=[RunState.REQUESTED.value, RunState.QUEUED.value])
    lost_planner = Q(state=RunState.PLANNING.value) & nobody
    to_read = Q(state=RunState.OUTCOME_UNKNOWN.value) & nobody & due
    runs = MigrationRun.objects.filter(waiting | lost_planner | to_read).filter(
        Q(dispatched_at__isnull=True) | Q(dispatched_at__lte=late)
    )
    for run in runs.select_related("target__environment").order_by("number")[:BATCH]:
        pause = min(settings.PORTAL_RESEND_S * run.dispatch_count, LONGEST_RESEND_S)
        if run.dispatched_at is not None and run.dispatched_at > now - timedelta(seconds=pause):
            continue
        with transaction.atomic():
            found = moves.lock_if_free(run.number)
            if found is None or found.state != run.state:
                continue
            MigrationRun.objects.filter(number=run.number).update(
                dispatched_at=now, dispatch_count=F("dispatch_count") + 1
            )
            dispatch.after_commit(_WAKES[run.run_state], queue=run.target.environment.queue, number=run.number)


def _resend_rehearsals() -> None:
    now = database_now()
    for rehearsal in rehearsals.due_again(now=now, later_than=now - timedelta(seconds=2 * settings.PORTAL_RESEND_S)):
        with transaction.atomic():
            mine = Rehearsal.objects.open().select_for_update(no_key=True, skip_locked=True, of=("self",))
            if mine.filter(pk=rehearsal.pk).first() is None:
                continue
            Rehearsal.objects.filter(pk=rehearsal.pk).update(dispatched_at=now)
            queue = rehearsal.run.target.environment.queue
            dispatch.after_commit(dispatch.Wake.REHEARSE, queue=queue, rehearsal_id=rehearsal.pk)


def _observe_due() -> None:
    now = database_now()
    due = Target.objects.filter(Q(next_observation_at__isnull=True) | Q(next_observation_at__lte=now))
    for target in due.select_related("environment").order_by("next_observation_at", "pk")[:BATCH]:
        period = target.environment.observe_every_s
        with transaction.atomic():
            free = Target.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=target.pk)
            if not free.values_list("pk"):
                continue
            Target.objects.filter(pk=target.pk).update(next_observation_at=now + timedelta(seconds=period))
            dispatch.after_commit(dispatch.Wake.OBSERVE, queue=target.environment.queue, target_id=target.pk)
