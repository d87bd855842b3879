"""Starting an approved run later: by a person who chooses the time, and by the sweep when it has come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from migrations_audit import access
from migrations_audit.actions import audit, grounds, moves, openings, runs, stand_ins
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid, PortalError
from migrations_audit.models import MigrationRun, Role
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState

LATEST = timedelta(minutes=15)
"""A start that comes later than this after its time is not made: people may not be there any more."""


class NotScheduled(Conflict):
    """The run is not scheduled, so there is nothing to take off."""

    code = "not_scheduled"


class StartedTooLate(Conflict):
    """The time of the schedule passed while the portal did not look. Start it by hand, or schedule it anew."""

    code = "started_too_late"


@audit.action
def schedule(*, actor: Actor, number: int, digest: str, at: datetime, confirm: str = "") -> MigrationRun:
    """Have an approved run started at ``at``, or at another time than was said before. ``digest`` is the plan that was seen.

    In production ``confirm`` is the target's name, typed, as at a start. At that time everything is asked again, in the name of
    ``actor``. Raises MissingRole, StaleRun, Invalid for a time that has passed or for another name, WindowClosed and Frozen for
    a time that is closed, ApprovalExpired for one after the approval, and the other faults of the approval.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    access.need(actor, run.target.environment, Role.OPERATOR, scope="run")
    moves.expect(run, RunState.APPROVED, verb="scheduled")
    now = database_now()
    grounds.check_standing(run, digest=digest, now=now)
    if at <= now:
        raise Invalid(f"{at:%Y-%m-%d %H:%M} UTC has passed. Give a time that lies ahead, or press Run now.", field="at")
    if run.expires_at is not None and at >= run.expires_at:
        raise grounds.ApprovalExpired(
            f"The approval of {run} expires at {run.expires_at:%Y-%m-%d %H:%M} UTC, before {at:%Y-%m-%d %H:%M} UTC. Choose an "
            "earlier time, or request it again nearer to it."
        )
    openings.need_open(run, at=at)
    runs.check_confirmed(run, confirm)
    _set(
        run,
        sentence=f"Scheduled by {actor.name} to start at {at:%Y-%m-%d %H:%M:%S} UTC.",
        scheduled_at=at,
        scheduled_as=stand_ins.named(actor),
    )
    audit.record_run(actor=actor, action="run.scheduled", run=run, at=at.isoformat())
    return run


@audit.action
def unschedule(*, actor: Actor, number: int) -> MigrationRun:
    """Take a run off its schedule. It stays approved. Raises NotScheduled, StaleRun, MissingRole."""
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    access.need(actor, run.target.environment, Role.OPERATOR, scope="run")
    moves.expect(run, RunState.APPROVED, verb="taken off its schedule")
    if run.scheduled_at is None:
        raise NotScheduled(f"{run} is not scheduled, so there is nothing to take off.")
    sentence = f"Taken off its schedule by {actor.name}; waiting for an operator to press Run now."
    _take_off(run, actor=actor, code="", sentence=sentence)
    return run


@audit.action
def start_due(*, actor: Actor, number: int) -> None:
    """Start a run whose time has come, in the name of whoever scheduled it; or take it off and say on it why it did not start.

    ``actor`` is the sweep. A run that somebody else holds, starts or takes off at the same moment is left to them. Raises
    AuditUnavailable, and then nothing was changed.
    """
    run = moves.lock_if_free(number)
    now = database_now()
    if run is None or run.scheduled_at is None or run.scheduled_as is None or run.scheduled_at > now:
        return
    time = f"{run.scheduled_at:%Y-%m-%d %H:%M:%S} UTC"
    try:
        if now - run.scheduled_at > LATEST:
            raise StartedTooLate(f"Its time passed while the portal did not look: it is {now:%Y-%m-%d %H:%M} UTC.")
        person = stand_ins.again(run.scheduled_as)
        sentence = (
            f"Queued at its time, scheduled by {person.name}; waiting for a worker of {run.target.environment.queue}."
        )
        digest = run.plan.digest if run.plan is not None else ""
        facts = {"scheduled_at": run.scheduled_at.isoformat()}
        with transaction.atomic():
            runs.may_start(run, actor=person, digest=digest, now=now)
            runs.queue(run, actor=person, now=now, sentence=sentence)
            audit.record_run(actor=person, action="run.queued", run=run, **facts)
    except audit.AuditUnavailable:
        raise
    except PortalError as error:
        name = run.scheduled_as["name"]
        why = f"{name} may not see it any more." if isinstance(error, access.Hidden) else error.message
        sentence = f"Not started at {time}, for which {name} had scheduled it. {why} It is approved as before."
        _take_off(run, actor=actor, code=error.code, sentence=sentence)


def due() -> list[int]:
    """The runs whose time has come."""
    rows = MigrationRun.objects.filter(scheduled_at__lte=database_now())
    return list(rows.order_by("scheduled_at", "number").values_list("number", flat=True))


def _set(run: MigrationRun, **values: Any) -> None:
    """Write to the (locked) approved run and mirror it on the instance. Raises StaleRun."""
    changed = MigrationRun.objects.filter(number=run.number, state=RunState.APPROVED.value, epoch=run.epoch)
    if changed.update(**values) != 1:
        raise moves.StaleRun(f"{run} has moved on. Reload the page and look again.")
    for name, value in values.items():
        setattr(run, name, value)


def _take_off(run: MigrationRun, *, actor: Actor, code: str, sentence: str) -> None:
    at = run.scheduled_at
    _set(run, sentence=sentence, reason_code=code, scheduled_at=None, scheduled_as=None)
    audit.record_run(
        actor=actor,
        action="run.unscheduled",
        run=run,
        at=at.isoformat() if at is not None else None,
        code=code,
        sentence=sentence,
    )
