"""What people and CI do with a run: request, withdraw, start, cancel, verify again, close."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from migrations_audit import access, dispatch
from migrations_audit.actions import audit, grounds, moves, openings, request_keys, stand_ins, texts
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import MigrationRun, Role, Target
from migrations_audit.models.clock import database_now
from migrations_audit.queries import eligibility
from migrations_audit.requests import check_request
from migrations_audit.states import Operation, RunState

LONGEST_REASON = 2_000
LONGEST_TICKET = 200


class AlreadyRequested(Conflict):
    """You have an open run that asks for the same."""

    code = "already_requested"


class TargetBusy(Conflict):
    """Another run is live on this target. Runs on one target never overlap."""

    code = "target_busy"


class TooLate(Conflict):
    """It is too late for this."""

    code = "too_late"


class AlreadyCancelling(Conflict):
    """The cancel has already been asked for."""

    code = "already_cancelling"


class AlreadyReading(Conflict):
    """The target is being read for this run, or a worker was just asked to."""

    code = "already_reading"


@audit.action
def request(
    *,
    actor: Actor,
    target_id: int,
    revision: str,
    reason: str,
    ticket: str = "",
    operation: Operation = Operation.UPGRADE,
    rolls_back: int | None = None,
    request_key: str = "",
) -> MigrationRun:
    """Ask for an upgrade or a rollback of one target; a worker then plans it.

    The same request of the same person with the same ``request_key`` gives the same run, whatever has become of it.
    ``revision`` is what a person writes (``head``, an id, ``+1``, ``base`` for a rollback). Raises Invalid for odd input,
    MissingRole, AlreadyRequested for the same open request of the same person, and RequestKeyReused.
    """
    target = access.get_target_for(actor, target_id)
    access.need(actor, target.environment, Role.REQUESTER, scope="request")
    asked = _asked(revision, operation=operation, rolls_back=rolls_back)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON, required=True)
    note = texts.check(ticket, field="ticket", longest=LONGEST_TICKET)
    meant = {"target": target.pk, "operation": operation.value, "revision": asked, "rolls_back": rolls_back}
    key = request_keys.of(request_key, request=meant | {"reason": words, "ticket": note})
    if not Target.objects.select_for_update(no_key=True).filter(pk=target.pk).values_list("pk"):
        raise access.Hidden(f"{target} was removed meanwhile.")
    if (run := request_keys.earlier(key, requester_id=actor.user_id)) is not None:
        return run
    _refuse_double(actor, target, operation, asked)
    now = database_now()
    requester = get_user_model()._default_manager.get(pk=actor.user_id or 0)
    run = MigrationRun.objects.create(
        target=target,
        operation=operation.value,
        requested=asked,
        requester=requester,
        requester_name=requester.get_username(),
        reason=words,
        ticket=note,
        rolls_back=_rolled_back(actor, target, rolls_back),
        request_key=key.key,
        request_digest=key.digest,
        sentence="Waiting for a worker to plan it.",
        requested_at=now,
        dispatched_at=now,
        dispatch_count=1,
        expires_at=now + timedelta(seconds=target.environment.approval_lifetime_s),
    )
    dispatch.after_commit(dispatch.Wake.PLAN, queue=target.environment.queue, number=run.number)
    audit.record_run(
        actor=actor, action="run.requested", run=run, reason=run.reason, ticket=run.ticket, rolls_back=rolls_back
    )
    return run


@audit.action
def request_again(*, actor: Actor, number: int) -> MigrationRun:
    """Ask for what run ``number`` asked for. Repeated by the same person it gives the same run. Raises as ``request`` does."""
    before = access.get_run_for(actor, number)
    return request(
        actor=actor,
        target_id=before.target_id,
        operation=Operation(before.operation),
        revision=before.requested,
        reason=before.reason,
        ticket=before.ticket,
        rolls_back=before.rolls_back_id,
        request_key=f"plan-again-{number}",
    )


@audit.action
def withdraw(*, actor: Actor, number: int, comment: str = "") -> MigrationRun:
    """Take a request back before it starts. The requester may, and an administrator of the environment."""
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    access.need_scope(actor, "request")
    if actor.user_id != run.requester_id:
        access.need(actor, run.target.environment, Role.ADMINISTRATOR)
    moves.expect(
        run, RunState.REQUESTED, RunState.PLANNING, RunState.AWAITING_APPROVAL, RunState.APPROVED, verb="withdrawn"
    )
    words = texts.check(comment, field="comment", longest=LONGEST_REASON)
    moves.move(
        run, to=RunState.WITHDRAWN, sentence=f"Withdrawn by {actor.name}. {words}".strip(), finished_at=database_now()
    )
    audit.record_run(actor=actor, action="run.withdrawn", run=run, comment=words)
    return run


@audit.action
def start(*, actor: Actor, number: int, digest: str, confirm: str = "") -> MigrationRun:
    """Run now: queue an approved run. ``digest`` is the plan that the person saw.

    In production ``confirm`` is the target's name, typed: whoever starts a run there has read which database it is for. Raises
    MissingRole, StaleRun, TargetBusy, Invalid for another name, WindowClosed, Frozen, and the faults of the approval
    (ApprovalExpired, PlanChanged, ApprovalIncomplete, NotVerifiedEarlier, NoPolicy, RehearsalMissing, RunbookMissing,
    FindingsOpen).
    """
    run = moves.lock(number)
    sentence = f"Queued by {actor.name}; waiting for a worker of {run.target.environment.queue}."
    may_start(run, actor=actor, digest=digest, now=database_now())
    check_confirmed(run, confirm)
    queue(run, actor=actor, now=database_now(), sentence=sentence)
    audit.record_run(actor=actor, action="run.queued", run=run)
    return run


def may_start(run: MigrationRun, *, actor: Actor, digest: str, now: datetime) -> None:
    """Raise, as ``start`` does, what keeps the (locked) run from being started by ``actor`` at this moment."""
    access.get_run_for(actor, run.number)
    access.need(actor, run.target.environment, Role.OPERATOR, scope="run")
    moves.expect(run, RunState.APPROVED, verb="started")
    grounds.check_standing(run, digest=digest, now=now)
    openings.need_open(run, at=now)


def check_confirmed(run: MigrationRun, confirm: str) -> None:
    """Raise Invalid unless what was typed names the target, where that is asked for. Nothing of the run changes by it."""
    if not eligibility.is_production(run) or confirm.strip() == run.target.label:
        return
    given = "What was typed is another name." if confirm.strip() else "Nothing was typed."
    raise Invalid(
        f"This is production: type the target's name, {run.target.label}, to start. {given} "
        "Nothing was started, and the run is as it was.",
        field="confirm_target",
    )


def queue(run: MigrationRun, *, actor: Actor, now: datetime, sentence: str, **fields: Any) -> None:
    """Move a (locked) run into the queue and wake a worker after the commit. Raises TargetBusy and StaleRun."""
    values: dict[str, Any] = {
        "queued_at": now,
        "queued_by_name": actor.name,
        "queued_as": stand_ins.named(actor),
        "dispatched_at": now,
        "dispatch_count": 1,
    } | fields
    try:
        with transaction.atomic():
            moves.move(run, to=RunState.QUEUED, sentence=sentence, **values)
    except IntegrityError as error:
        busy = MigrationRun.objects.live().filter(target=run.target).exclude(number=run.number).first()
        raise TargetBusy(
            f"{busy} is {busy.get_state_display() if busy else 'live'}; wait until it has ended."
        ) from error
    dispatch.after_commit(dispatch.Wake.EXECUTE, queue=run.target.environment.queue, number=run.number)


@audit.action
def cancel(*, actor: Actor, number: int) -> MigrationRun:
    """Cancel a queued run at once, or ask a running one to stop.

    A running one ends with what the target then says: cancelled, or applied if the commit was faster.
    Raises TooLate while it verifies, AlreadyCancelling, StaleRun, MissingRole.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    if actor.user_id != run.requester_id or actor.is_machine:
        access.need(actor, run.target.environment, Role.OPERATOR, scope="run")
    moves.expect(run, RunState.QUEUED, RunState.RUNNING, verb="cancelled")
    now = database_now()
    if run.run_state is RunState.QUEUED:
        moves.move(
            run, to=RunState.CANCELLED, sentence=f"Cancelled by {actor.name} before it started.", finished_at=now
        )
        audit.record_run(actor=actor, action="run.cancelled", run=run)
        return run
    if run.phase == "verify":
        raise TooLate(f"{run} is already reading the target back. Its verdict follows in a moment.")
    if run.cancel_requested_at is not None:
        raise AlreadyCancelling(
            f"{run.cancel_requested_by} asked {run} to cancel at {run.cancel_requested_at:%H:%M:%S} UTC."
        )
    MigrationRun.objects.filter(number=run.number, epoch=run.epoch).update(
        cancel_requested_at=now, cancel_requested_by=actor.name
    )
    run.cancel_requested_at, run.cancel_requested_by = now, actor.name
    audit.record_run(actor=actor, action="run.cancel_requested", run=run, phase=run.phase)
    return run


@audit.action
def verify_again(*, actor: Actor, number: int) -> MigrationRun:
    """Have the target of a run of unknown outcome fenced and read now, instead of at the next appointed time.

    The requester may, and an operator. Raises AlreadyReading, StaleRun, MissingRole.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    if actor.user_id != run.requester_id or actor.is_machine:
        access.need(actor, run.target.environment, Role.OPERATOR, scope="run")
    moves.expect(run, RunState.OUTCOME_UNKNOWN, verb="verified again")
    now = database_now()
    if run.lease_expires_at is not None and run.lease_expires_at > now:
        raise AlreadyReading(f"{run.worker} is fencing and reading {run.target} now.")
    if run.reconcile_after_at is not None and run.reconcile_after_at <= now:
        raise AlreadyReading(f"{run} waits for a worker of {run.target.environment.queue} already.")
    MigrationRun.objects.filter(number=run.number, epoch=run.epoch).update(
        reconcile_after_at=now, dispatched_at=now, dispatch_count=1
    )
    run.reconcile_after_at = now
    dispatch.after_commit(dispatch.Wake.RECONCILE, queue=run.target.environment.queue, number=run.number)
    audit.record_run(actor=actor, action="run.verify_requested", run=run)
    return run


@audit.action
def close_unknown(*, actor: Actor, number: int, reason: str) -> MigrationRun:
    """Give up finding out what a run did, because its target cannot be read any more. It blocks its target no longer.

    For administrators of the environment in person, with a reason. The outcome stays unknown for ever: nothing is verified, and
    the next plan begins with what is read then. Raises AlreadyReading, StaleRun, MissingRole, Invalid.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    access.need(actor, run.target.environment, Role.ADMINISTRATOR)
    moves.expect(run, RunState.OUTCOME_UNKNOWN, verb="closed")
    words = texts.check(reason, field="reason", longest=LONGEST_REASON)
    if not words:
        raise Invalid("Say why the outcome cannot be found out any more.", field="reason")
    now = database_now()
    if run.lease_expires_at is not None and run.lease_expires_at > now:
        raise AlreadyReading(f"{run.worker} is fencing and reading {run.target} now. Wait for what it finds.")
    moves.move(
        run,
        to=RunState.CLOSED,
        sentence=f"Closed by {actor.name} with its outcome unknown: {words} What was known last: {run.sentence}",
        reason_code="closed_by_person",
        epoch=run.epoch + 1,
        phase="",
        lease_expires_at=None,
        reconcile_after_at=None,
        finished_at=now,
    )
    audit.record_run(actor=actor, action="run.closed", run=run, reason=words)
    return run


def _asked(revision: str, *, operation: Operation, rolls_back: int | None) -> str:
    asked = check_request(revision, operation=operation)
    if rolls_back is not None and operation is not Operation.ROLLBACK:
        raise Invalid(
            "Only a rollback takes a run back. Leave its number out, or ask for a rollback.", field="rolls_back"
        )
    return asked


def _refuse_double(actor: Actor, target: Target, operation: Operation, asked: str) -> None:
    mine = MigrationRun.objects.open().filter(
        target=target, requester_id=actor.user_id, operation=operation.value, requested=asked
    )
    if (double := mine.first()) is not None:
        raise AlreadyRequested(
            f"{double} already asks for {operation.value} to {asked}. Open it, or withdraw it first."
        )


def _rolled_back(actor: Actor, target: Target, number: int | None) -> MigrationRun | None:
    if number is None:
        return None
    run = access.get_run_for(actor, number)
    if run.target_id != target.pk:
        raise Invalid(f"{run} belongs to another target.", field="rolls_back")
    return run
