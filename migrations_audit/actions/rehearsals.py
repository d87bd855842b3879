"""Rehearsals: asking for one, taking it up, keeping what was seen. And whether a plan has the one that its policy demands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from migrations_audit import access, dispatch
from migrations_audit.actions import audit, moves
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Denied, NotFound
from migrations_audit.models import MigrationRun, Observation, Rehearsal, RevisionDelta, Role
from migrations_audit.models.clock import database_now
from migrations_audit.queries import rehearsals
from migrations_audit.states import Isolation, Operation, Outcome, RehearsalState, RunState

BEFORE_START = (RunState.AWAITING_APPROVAL, RunState.APPROVED)
MOST_TRIES = 3


class NoSuchRehearsal(NotFound):
    """There is no such rehearsal."""


class AlreadyRehearsing(Conflict):
    """A rehearsal of this run is waiting or running. Wait for what it shows."""

    code = "already_rehearsing"


class NotToRehearse(Conflict):
    """This plan executes no revision, so there is nothing to rehearse."""

    code = "nothing_to_rehearse"


class RehearsalMissing(Denied):
    """The policy demands a rehearsal of this plan that is not there."""

    code = "rehearsal_missing"


@dataclass(frozen=True)
class Result:
    """What a worker saw. ``steps`` hold one entry a revision; ``deltas`` those whose file and changes are worth keeping."""

    outcome: Outcome
    code: str
    sentence: str
    grade: str = ""
    isolation: Isolation | None = None
    server_version: str = ""
    is_private: bool = True
    observation: Observation | None = None
    steps: Sequence[Mapping[str, Any]] = ()
    delta: Sequence[Mapping[str, str]] = ()
    differences: Sequence[str] = ()
    problems: Sequence[str] = ()
    findings: Sequence[Mapping[str, Any]] = ()
    impact: Mapping[str, Any] = field(default_factory=dict)


@audit.action
def ask(*, actor: Actor, number: int) -> Rehearsal:
    """Have the plan of a run rehearsed anew: for whoever may decide on it or start it, and for its requester.

    Raises MissingRole, MissingScope, StaleRun, NotToRehearse and AlreadyRehearsing.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    if actor.user_id != run.requester_id:
        access.need_any(actor, run.target.environment, Role.APPROVER, Role.OPERATOR)
    access.need_scope(actor, "request")
    moves.expect(run, *BEFORE_START, verb="rehearsed")
    rehearsal = begin(run, actor=actor, now=database_now())
    if rehearsal is None:
        raise NotToRehearse(f"{run} executes no revision, so there is nothing to rehearse.")
    audit.record_run(actor=actor, action="run.rehearsal_asked", run=run, rehearsal=rehearsal.pk)
    return rehearsal


def begin(run: MigrationRun, *, actor: Actor, now: datetime) -> Rehearsal | None:
    """A rehearsal of the (locked) run, waiting for a worker, in the caller's transaction. None where there is nothing to play."""
    if run.plan is None or run.operation == Operation.ADOPT:
        return None
    if run.rehearsals.open().exists():
        raise AlreadyRehearsing(f"A rehearsal of {run} is waiting or running. Wait for what it shows.")
    rehearsal = Rehearsal.objects.create(
        run=run, plan=run.plan, asked_by_name=actor.name, asked_at=now, dispatched_at=now
    )
    dispatch.after_commit(dispatch.Wake.REHEARSE, queue=run.target.environment.queue, rehearsal_id=rehearsal.pk)
    return rehearsal


@audit.action
def claim(*, actor: Actor, rehearsal_id: int) -> Rehearsal | None:
    """Take up a rehearsal that waits, or one whose worker was lost. None when another worker has it or it has ended.

    After ``MOST_TRIES`` lost workers, and when its run no longer waits for anything, it ends here as one that could not run.
    """
    now = database_now()
    found = _waiting(now).filter(pk=rehearsal_id).select_for_update(no_key=True, of=("self",)).first()
    if found is None:
        if not Rehearsal.objects.filter(pk=rehearsal_id).exists():
            raise NoSuchRehearsal(f"There is no rehearsal {rehearsal_id}.")
        return None
    run = moves.read(found.run_id)
    if run.run_state not in BEFORE_START:
        _end(
            found,
            run,
            actor=actor,
            result=_not_run("run_over", f"{run} is {run.get_state_display()}; nobody waits for this."),
        )
        return None
    if found.epoch >= MOST_TRIES:
        sentence = f"{MOST_TRIES} workers took this up and none came back. Their logs have the details."
        _end(found, run, actor=actor, result=_not_run("workers_lost", sentence))
        return None
    Rehearsal.objects.filter(pk=found.pk).update(
        state=RehearsalState.RUNNING.value,
        epoch=found.epoch + 1,
        worker=actor.name,
        started_at=now,
        lease_expires_at=now + timedelta(seconds=settings.PORTAL_LEASE_S),
    )
    return Rehearsal.objects.select_related(
        "run__target__project", "run__target__environment", "plan__snapshot", "plan__base_observation"
    ).get(pk=found.pk)


def renew(*, rehearsal_id: int, epoch: int) -> bool:
    """Prolong the lease. False when the rehearsal is another worker's, has ended, or nobody waits for it any more."""
    held = Rehearsal.objects.filter(pk=rehearsal_id, epoch=epoch, state=RehearsalState.RUNNING.value)
    wanted = held.filter(run__state__in=[state.value for state in BEFORE_START])
    if not wanted.exists():
        return False
    return held.update(lease_expires_at=database_now() + timedelta(seconds=settings.PORTAL_LEASE_S)) == 1


@audit.action
def finish(
    *, actor: Actor, rehearsal_id: int, epoch: int, result: Result, deltas: Sequence[Mapping[str, Any]] = ()
) -> Rehearsal | None:
    """Store what was seen, with the delta of each revision. None when another worker has taken the rehearsal over."""
    found = (
        Rehearsal.objects.select_for_update(no_key=True, of=("self",))
        .filter(pk=rehearsal_id, epoch=epoch, state=RehearsalState.RUNNING.value)
        .first()
    )
    if found is None:
        return None
    run = moves.read(found.run_id)
    now = database_now()
    RevisionDelta.objects.bulk_create(
        RevisionDelta(project=run.target.project, rehearsal=found, at=now, **delta) for delta in deltas
    )
    _end(found, run, actor=actor, result=result)
    return found


def give_up(
    *, actor: Actor, rehearsal_id: int, epoch: int, code: str, sentence: str, impact: Mapping[str, Any] | None = None
) -> None:
    """End a rehearsal that could not run, saying why, with what its target told all the same."""
    result = replace(_not_run(code, sentence), impact=impact or {})
    finish(actor=actor, rehearsal_id=rehearsal_id, epoch=epoch, result=result)


def due_again(*, now: datetime, later_than: datetime) -> list[Rehearsal]:
    """Those whose message was lost, or whose worker: the sweep sends them again."""
    lost = Q(dispatched_at__isnull=True) | Q(dispatched_at__lte=later_than)
    return list(_waiting(now).filter(lost).select_related("run__target__environment").order_by("pk")[:200])


def check(run: MigrationRun, *, now: datetime, at_approval: bool) -> Rehearsal | None:
    """The telling rehearsal of the run's plan. Raises RehearsalMissing when the policy demands another one.

    Its age counts when somebody approves; at the start the approval's own lifetime does.
    """
    telling = run.rehearsals.filter(plan=run.plan).telling_first().first()
    if lacking := rehearsals.missing(run, telling, now=now, at_approval=at_approval):
        raise RehearsalMissing(lacking)
    return telling


def _waiting(now: datetime) -> Any:
    nobody = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lte=now)
    return Rehearsal.objects.open().filter(Q(state=RehearsalState.WAITING.value) | nobody)


def _not_run(code: str, sentence: str) -> Result:
    return Result(Outcome.COULD_NOT_RUN, code, sentence)


def _end(rehearsal: Rehearsal, run: MigrationRun, *, actor: Actor, result: Result) -> None:
    values = {
        "state": RehearsalState.ENDED.value,
        "ended_at": database_now(),
        "lease_expires_at": None,
        "outcome": result.outcome.value,
        "code": result.code,
        "sentence": result.sentence,
        "grade": result.grade,
        "isolation": result.isolation.value if result.isolation else "",
        "server_version": result.server_version,
        "is_private": result.is_private,
        "observation": result.observation,
        "steps": [dict(step) for step in result.steps],
        "delta": [dict(change) for change in result.delta],
        "differences": list(result.differences),
        "problems": list(result.problems),
        "findings": [dict(finding) for finding in result.findings],
        "impact": dict(result.impact),
    }
    Rehearsal.objects.filter(pk=rehearsal.pk).update(**values)
    for name, value in values.items():
        setattr(rehearsal, name, value)
    audit.record_run(
        actor=actor,
        action="run.rehearsed",
        run=run,
        rehearsal=rehearsal.pk,
        outcome=result.outcome.value,
        code=result.code,
        grade=result.grade,
        sentence=result.sentence,
    )
