"""One attempt as its worker drives it: claim, lease, phases, log, steps, and its end. Every write is guarded by the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet

from migrations_audit import access, dispatch
from migrations_audit.actions import audit, evidence, glass, grounds, moves, openings, plans, stand_ins
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, PortalError
from migrations_audit.judgement import Judgement
from migrations_audit.models import LogLine, MigrationRun, Observation, Role, RunStep
from migrations_audit.models.clock import database_now
from migrations_audit.states import Isolation, Phase, RunState, StepState, Verdict

LONGEST_PAUSE_S = 300
EPOCH_OF_FIRST_TRY = 4
"""Planned, claimed, lost, taken over."""


class NotClaimable(Conflict):
    """The run is not queued: another delivery of the message was faster, or it was cancelled."""

    code = "not_claimable"


class StillHeld(Conflict):
    """The attempt that the report is of still goes on; its worker tells the rest itself."""

    code = "still_held"


class LostLease(Conflict):
    """This worker no longer holds the run. Whatever it was doing must stop."""

    code = "lost_lease"


@dataclass(frozen=True)
class Lease:
    """What a heartbeat learns: whether the run is still ours, and whether somebody asked to cancel it."""

    held: bool
    cancel_requested: bool

    @property
    def may_work(self) -> bool:
        return self.held and not self.cancel_requested


@dataclass(frozen=True)
class Line:
    """One line for the live log. ``duration_ms`` for statements and steps."""

    stream: str
    text: str
    duration_ms: int | None = None


@audit.action
def claim(*, actor: Actor, number: int) -> MigrationRun:
    """Take a queued run. Exactly one of any number of deliveries gets it; only after this commit may a target be touched.

    The approvals, the policy and the settings are looked at again here: a run that they no longer carry comes back void or
    refused, with the sentence that says why. One whose window has closed, or that meets a freeze, comes back approved. Raises
    NotClaimable.
    """
    run = moves.lock(number)
    if run.run_state is not RunState.QUEUED:
        raise NotClaimable(f"{run} is {run.get_state_display()}.")
    now = database_now()
    fault = _fault_at_claim(run)
    if fault is not None:
        to, code, sentence = fault
        moves.move(run, to=to, sentence=sentence, reason_code=code, finished_at=now)
        plans.keep_what_changed(run)
        audit.record_run(actor=actor, action=f"run.{to.value}", run=run, code=code, sentence=sentence)
        return run
    try:
        openings.need_open(run, at=now)
    except openings.WindowClosed as error:
        if run.broke_glass_at is None:
            _put_back(run, actor=actor, error=error)
        else:  # it was never approved, so there is nothing to go back to
            moves.move(run, to=RunState.REFUSED, sentence=error.message, reason_code=error.code, finished_at=now)
            audit.record_run(actor=actor, action="run.refused", run=run, code=error.code, sentence=error.message)
        return run
    moves.move(
        run,
        to=RunState.RUNNING,
        sentence=f"{actor.name} is looking at the target.",
        epoch=run.epoch + 1,
        phase=Phase.PREFLIGHT.value,
        worker=actor.name,
        started_at=now,
        lease_expires_at=now + timedelta(seconds=settings.PORTAL_LEASE_S),
    )
    audit.record_run(actor=actor, action="run.claimed", run=run, epoch=run.epoch)
    # Asked once more with the chain in hand: in the audit no run is claimed after the event of the freeze.
    if openings.is_frozen():
        raise NotClaimable(f"The portal was frozen at the moment at which {run} was to be claimed.")
    return run


def renew(*, number: int, epoch: int) -> Lease:
    """Prolong the lease. A heartbeat changes nothing that anyone decides on, so it leaves no event."""
    now = database_now()
    held = _held(number, epoch).update(lease_expires_at=now + timedelta(seconds=settings.PORTAL_LEASE_S))
    asked = MigrationRun.objects.filter(number=number, cancel_requested_at__isnull=False).exists()
    return Lease(held=held == 1, cancel_requested=asked)


@audit.action
def enter_phase(*, actor: Actor, number: int, epoch: int, phase: Phase, sentence: str) -> None:
    """Record where a running run is. Raises LostLease."""
    changed = MigrationRun.objects.filter(number=number, epoch=epoch, state=RunState.RUNNING.value).update(
        phase=phase.value, sentence=sentence
    )
    if changed != 1:
        raise LostLease(f"Run {number} is no longer held in epoch {epoch}.")
    run = moves.read(number)
    audit.record_run(actor=actor, action="run.phase_entered", run=run, phase=phase.value)


@audit.action
def note_backup(*, actor: Actor, number: int, epoch: int, reference: str) -> None:
    """Record the backup that was made before anything was sent. Raises LostLease."""
    if _held(number, epoch).update(backup_reference=reference) != 1:
        raise LostLease(f"Run {number} is no longer held in epoch {epoch}.")
    audit.record_run(actor=actor, action="run.backed_up", run=moves.read(number), reference=reference)


@audit.action
def confine(*, actor: Actor, number: int, epoch: int, isolation: Isolation) -> None:
    """Record what keeps the run's scripts apart from the portal. Raises LostLease."""
    if _held(number, epoch).update(isolation=isolation.value) != 1:
        raise LostLease(f"Run {number} is no longer held in epoch {epoch}.")
    run = moves.read(number)
    audit.record_run(actor=actor, action="run.confined", run=run, isolation=isolation.value)


@audit.action
def begin_execution(*, actor: Actor, number: int, epoch: int, sentence: str) -> bool:
    """Enter the phase in which the project may send statements. False when a cancel was faster. Raises LostLease.

    One conditional update decides: it also needs a lease that is not over, because a reconciliation may be about to begin.
    """
    mine = _held(number, epoch).filter(state=RunState.RUNNING.value, lease_expires_at__gt=database_now())
    changed = mine.filter(cancel_requested_at__isnull=True).update(phase=Phase.EXECUTE.value, sentence=sentence)
    if changed != 1:
        if mine.exists():
            return False
        raise LostLease(f"Run {number} is no longer held in epoch {epoch}.")
    run = moves.read(number)
    audit.record_run(actor=actor, action="run.phase_entered", run=run, phase=Phase.EXECUTE.value)
    return True


def remember_sessions(*, number: int, epoch: int, sessions: Sequence[Mapping[str, Any]]) -> None:
    """Store which sessions on the target are the run's, before the project gets the last of them. Raises LostLease.

    Where an engine knows no application name, the fence finds them by this alone.
    """
    if _held(number, epoch).update(sessions=list(sessions)) != 1:
        raise LostLease(f"Run {number} is no longer held in epoch {epoch}.")


@transaction.atomic
def append_log(*, number: int, epoch: int, lines: Sequence[Line]) -> None:
    """Append to the live log. The log is for people; its digest enters the chain when the run ends. Raises LostLease."""
    _lock_held(number, epoch)
    last = LogLine.objects.filter(run_id=number).aggregate(last=Max("seq"))["last"] or 0
    now = database_now()
    LogLine.objects.bulk_create(
        LogLine(run_id=number, seq=seq, at=now, stream=line.stream, text=line.text, duration_ms=line.duration_ms)
        for seq, line in enumerate(lines, last + 1)
    )
    transaction.on_commit(lambda: dispatch.announce(number))


@transaction.atomic
def update_step(*, number: int, epoch: int, position: int, state: StepState, **fields: Any) -> None:
    """Record what a hook said of a step. ``fields`` are columns of RunStep. Raises LostLease."""
    _lock_held(number, epoch)
    RunStep.objects.filter(run_id=number, position=position).update(state=state.value, **fields)


@audit.action
def begin_again(*, actor: Actor, number: int, epoch: int, sentence: str, **facts: Any) -> None:
    """Record that everything was rolled back after a lock timeout and begins anew, with ``facts``. Raises LostLease."""
    _lock_held(number, epoch)
    MigrationRun.objects.filter(number=number, epoch=epoch).update(phase=Phase.LOCK.value, sentence=sentence)
    waiting = {
        "state": StepState.WAITING.value,
        "started_at": None,
        "ended_at": None,
        "duration_ms": None,
        "statements": 0,
    }
    RunStep.objects.filter(run_id=number).update(**waiting)
    run = moves.read(number)
    audit.record_run(actor=actor, action="run.began_again", run=run, sentence=sentence, **facts)


@audit.action
def finish(
    *,
    actor: Actor,
    number: int,
    epoch: int,
    judgement: Judgement,
    observation: Observation | None,
    facts: dict[str, Any] | None = None,
) -> MigrationRun:
    """End the attempt with what the target said: evidence, verdict and state in one transaction.

    An unknown outcome keeps the target blocked and asks for a reconciliation. Raises LostLease when another epoch owns the run.
    """
    run = moves.lock(number)
    if run.epoch != epoch or run.run_state not in (RunState.RUNNING, RunState.OUTCOME_UNKNOWN):
        raise LostLease(f"{run} is no longer held in epoch {epoch}; it is {run.get_state_display()}.")
    now = database_now()
    unknown = judgement.state is RunState.OUTCOME_UNKNOWN
    if not unknown or run.run_state is RunState.RUNNING:
        evidence.store_checks(target=run.target, run=run, observation=observation, checks=judgement.checks)
    values: dict[str, Any] = {
        "sentence": judgement.sentence,
        "reason_code": judgement.code,
        "lease_expires_at": None,
        "reconcile_after_at": None,
    }
    if unknown:
        values |= handed_over(run, at=now + _pause(run))
    if unknown and run.run_state is RunState.OUTCOME_UNKNOWN:
        MigrationRun.objects.filter(number=number, epoch=epoch).update(**values)
    else:
        moves.move(
            run,
            to=judgement.state,
            **values,
            phase=run.phase if unknown else Phase.NONE.value,
            finished_at=None if unknown else now,
            verdict=judgement.verdict.value,
            verified_by=observation if judgement.verdict is not Verdict.UNVERIFIED else None,
        )
    audit.record_run(
        actor=actor,
        action=f"run.{judgement.state.value}",
        run=run,
        verdict=judgement.verdict.value,
        code=judgement.code,
        sentence=judgement.sentence,
        observation=observation.pk if observation else None,
        checks=[{"check": item.name, "outcome": item.outcome.value} for item in judgement.checks],
        **(facts or {}),
    )
    return run


@audit.action
def abandon(*, actor: Actor, number: int, epoch: int, sentence: str) -> None:
    """Give an attempt up whose worker cannot go on: its outcome is unknown, and a reconciliation is due at once."""
    run = moves.lock(number)
    if run.epoch != epoch or run.run_state is not RunState.RUNNING:
        raise LostLease(f"{run} is no longer held in epoch {epoch}; it is {run.get_state_display()}.")
    moves.move(
        run,
        to=RunState.OUTCOME_UNKNOWN,
        sentence=sentence,
        reason_code="worker_gave_up",
        **handed_over(run, at=database_now()),
    )
    audit.record_run(actor=actor, action="run.abandoned", run=run, phase=run.phase, sentence=sentence)


@audit.action
def deliver_report(*, actor: Actor, number: int, epoch: int, facts: Mapping[str, Any]) -> None:
    """Record what a worker had noted of an attempt while the portal's database was away. It decides nothing.

    Raises StillHeld while that attempt goes on, and NoSuchRun.
    """
    run = moves.lock(number)
    lease = run.lease_expires_at if run.epoch == epoch and run.run_state is RunState.RUNNING else None
    if lease is not None and lease > database_now():
        raise StillHeld(f"{run} is held by {run.worker}.")
    audit.record_run(actor=actor, action="run.report_delivered", run=run, of_epoch=epoch, report=dict(facts))


@audit.action
def take_over(*, actor: Actor, number: int) -> MigrationRun:
    """Claim a run of unknown outcome for reconciliation: a new epoch, so that its lost worker can write nothing more.

    Raises NotClaimable while another reconciliation holds it, and before the next one is due.
    """
    run = moves.lock(number)
    now = database_now()
    if run.run_state is not RunState.OUTCOME_UNKNOWN:
        raise NotClaimable(f"{run} is {run.get_state_display()}.")
    if run.lease_expires_at is not None and run.lease_expires_at > now:
        raise NotClaimable(f"{run} is being reconciled by {run.worker}.")
    if run.reconcile_after_at is not None and run.reconcile_after_at > now:
        raise NotClaimable(f"{run} is read again at {run.reconcile_after_at:%H:%M:%S} UTC.")
    MigrationRun.objects.filter(number=number, epoch=run.epoch).update(
        epoch=run.epoch + 1,
        worker=actor.name,
        lease_expires_at=now + timedelta(seconds=settings.PORTAL_LEASE_S),
        reconcile_after_at=now + _pause(run),  # should this worker be lost as well
    )
    run.refresh_from_db()
    audit.record_run(actor=actor, action="run.reconciling", run=run, epoch=run.epoch)
    return run


def handed_over(run: MigrationRun, *, at: datetime) -> dict[str, Any]:
    """What a run of unknown outcome is given: no holder, an epoch in which nobody writes, and the time of the next try."""
    return {
        "epoch": run.epoch + 1,
        "lease_expires_at": None,
        "reconcile_after_at": at,
        "dispatched_at": None,
        "dispatch_count": 0,
    }


def _put_back(run: MigrationRun, *, actor: Actor, error: openings.WindowClosed) -> None:
    """From queued back to approved: nothing of the run has been done, and its approvals hold for as long as they did."""
    sentence = f"Put back before anything was touched. {error.message} Press Run now once it is open, or schedule it."
    moves.move(
        run,
        to=RunState.APPROVED,
        sentence=sentence,
        reason_code=error.code,
        queued_at=None,
        queued_by_name="",
        queued_as=None,
        dispatched_at=None,
        dispatch_count=0,
    )
    audit.record_run(actor=actor, action="run.put_back", run=run, code=error.code, sentence=sentence)


def _held(number: int, epoch: int) -> QuerySet[MigrationRun]:
    """The run while this epoch owns it and it has not ended."""
    states = [RunState.PLANNING.value, RunState.RUNNING.value, RunState.OUTCOME_UNKNOWN.value]
    return MigrationRun.objects.filter(number=number, epoch=epoch, state__in=states)


def _lock_held(number: int, epoch: int) -> None:
    if not _held(number, epoch).select_for_update(no_key=True).values_list("number"):
        raise LostLease(f"Run {number} is no longer held in epoch {epoch}.")


def _pause(run: MigrationRun) -> timedelta:
    """How long to wait before the next reconciliation: longer each time, for a target that stays away may do so for days."""
    tries = max(run.epoch - EPOCH_OF_FIRST_TRY, 0) // 2  # each try takes two epochs: taken over, and handed over again
    return timedelta(seconds=min(settings.PORTAL_RESEND_S * 2 ** min(tries, 8), LONGEST_PAUSE_S))


def _who_broke_it(run: MigrationRun) -> Actor:
    return Actor(kind=ActorKind.USER, name=run.broke_glass_by_name, user_id=run.broke_glass_by_id)


def _need_starter(run: MigrationRun) -> None:
    """Raise unless whoever started it still may."""
    if run.queued_as is not None:
        access.need(stand_ins.again(run.queued_as), run.target.environment, Role.OPERATOR, scope="run")


def _fault_at_claim(run: MigrationRun) -> tuple[RunState, str, str] | None:
    plan = run.plan
    if plan is None:
        return RunState.REFUSED, "no_plan", f"{run} has no plan."
    try:
        if run.broke_glass_by_id is None:
            grounds.check_standing(run, digest=plan.digest, now=database_now())
            _need_starter(run)
        else:
            grounds.check_digest(run, digest=plan.digest)
            grounds.check_settings(run)
            glass.need_rights(run, _who_broke_it(run))
    except grounds.PlanChanged as error:
        return RunState.VOID, error.code, f"{error.message} The stored plan does not match its digest."
    except PortalError as error:
        is_void = isinstance(error, grounds.ApprovedThingChanged)
        return RunState.VOID if is_void else RunState.REFUSED, error.code, error.message
    if not plans.is_for(plan, run.target.identity):
        return (
            RunState.VOID,
            "identity_changed",
            f"The enrolled database of {run.target} was given up after the approval, and what answers now is not the one of the "
            "plan. Request the upgrade again.",
        )
    return None
