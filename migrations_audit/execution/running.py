"""The script of one run: claim, preflight, execute, fence, verify. Its worker may be lost at any line of it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from django.db import DatabaseError, connection

from migrations_audit import failpoints
from migrations_audit.actions import attempts
from migrations_audit.actors import Actor, worker
from migrations_audit.engine import dialects, folders, isolation, types
from migrations_audit.engine.launch import Confinement
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import (
    backups,
    executing,
    judging,
    observing,
    places,
    preflight,
    runner_request,
    spool,
    writing,
)
from migrations_audit.execution.executing import Ended
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.execution.narration import Narrator
from migrations_audit.judgement import Witness
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import Phase, RunState

logger = logging.getLogger(__name__)

FENCE_BUDGET_S = 20.0
READ_BACK_WITHIN_S = 30.0
PAUSE_BETWEEN_READS_S = 2.0
CONCLUDE_WITHIN_S = 600.0


def execute_run(*, number: int, worker_name: str) -> MigrationRun | None:
    """Execute the approved run ``number`` once. None when this delivery of the message came too late."""
    actor = worker(worker_name)
    failpoints.reach("before_claim")
    try:
        run = attempts.claim(actor=actor, number=number)
    except attempts.NotClaimable as error:
        logger.info("Not claimed: %s", error.message)
        return None
    if run.run_state is not RunState.RUNNING or run.plan is None:
        return run
    failpoints.reach("after_claim")
    with Heartbeat.of_run(number=run.number, epoch=run.epoch) as heartbeat:
        try:
            return _attempt(run, run.plan, actor=actor, heartbeat=heartbeat)
        except attempts.LostLease as error:
            logger.warning("Stopped: %s", error.message)
        except Exception as error:  # the outermost frame of the attempt; the outcome is stored
            logger.exception("Run %s was given up.", number)
            _give_up(run, actor=actor, error=error)
    return None


def _give_up(run: MigrationRun, *, actor: Actor, error: Exception) -> None:
    sentence = (
        f"{actor.name} hit an error of its own ({type(error).__name__}) in phase {run.phase}. What reached {run.target} is "
        "unknown until its sessions are ended and it has been read. Its log has the details."
    )
    try:
        attempts.abandon(actor=actor, number=run.number, epoch=run.epoch, sentence=sentence)
    except (PortalError, DatabaseError) as second:
        logger.warning("%s: the lease will run out instead (%s).", run, type(second).__name__)


@dataclass(frozen=True)
class _Executed:
    """What an execution leaves to be judged."""

    before: observing.Look
    url: TargetUrl
    scripts: places.Scripts
    ended: types.RunnerExit


def _attempt(run: MigrationRun, plan: Plan, *, actor: Actor, heartbeat: Heartbeat) -> MigrationRun:
    narrator = Narrator(run=run, actor=actor)
    try:
        executed = _carry_out(run, plan, actor=actor, heartbeat=heartbeat, narrator=narrator)
    except Ended as end:
        narrator.say(end.judgement.sentence)
        narrator.finish()
        looked = run.observations.filter(purpose="preflight").order_by("-id").first()
        return attempts.finish(
            actor=actor,
            number=run.number,
            epoch=run.epoch,
            judgement=end.judgement,
            observation=looked if end.judgement.checks else None,
        )
    ended = executed.ended
    witness = replace(
        narrator.witness,
        exit_code=ended.exit_code if not ended.signal else None,
        ended_by=ended.ended_by if not ended.signal else f"{ended.ended_by} (signal {ended.signal})",
        cancel_requested=ended.ended_by == "cancel" or heartbeat.stop_reason() == "cancel",
        error=narrator.witness.error or executing.foreign_signal(ended, runner_request.limits(plan)),
    )
    narrator.say(
        f"The runner has ended ({witness.ended_by}, exit code {witness.exit_code}). Ending its sessions and reading the target."
    )
    return _conclude_patiently(run, plan, executed, witness, actor=actor, narrator=narrator)


def _carry_out(run: MigrationRun, plan: Plan, *, actor: Actor, heartbeat: Heartbeat, narrator: Narrator) -> _Executed:
    before, url = preflight.look(run, plan, actor=actor, narrator=narrator)
    interpreter = _interpreter(run, plan)
    confinement = _confinement(run, plan, interpreter=interpreter, actor=actor)
    with folders.made("run") as scratch:
        folder = scratch / "snapshot"
        scripts = _approved_scripts(plan, folder)
        preflight.compare_sql(
            run,
            plan,
            url=url,
            scripts=scripts,
            interpreter=interpreter,
            confinement=confinement,
            narrator=narrator,
        )
        if reference := backups.take(run, actor=actor):
            narrator.say(f"Backed up before the start: {reference}")
        sentence = f"The runner connects to {url.display()} and takes the run lock there."
        _enter(run, Phase.LOCK, sentence, actor=actor)
        _stop_if_asked(run, heartbeat)
        failpoints.reach("before_runner")
        subject = executing.Subject(
            run=run,
            plan=plan,
            url=url,
            folder=folder,
            scripts=scripts,
            interpreter=interpreter,
            confinement=confinement,
        )
        ended = executing.execute(subject, narrator=narrator, heartbeat=heartbeat)
        failpoints.reach("after_runner")
    return _Executed(before, url, scripts, ended)


def _conclude_patiently(
    run: MigrationRun, plan: Plan, executed: _Executed, witness: Witness, *, actor: Actor, narrator: Narrator
) -> MigrationRun:
    """Conclude, again and again while the portal's database is away; meanwhile a report lies on this machine's disk.

    Raises LostLease when a reconciliation was faster, and what the database raised when it stays away.
    """
    give_up_at = time.monotonic() + CONCLUDE_WITHIN_S
    report: Path | None = None
    while True:
        try:
            finished = _conclude(run, plan, executed, witness, actor=actor, narrator=narrator)
            break
        except writing.AWAY as error:
            connection.close()
            facts = {"runner": {**vars(executed.ended), **narrator.facts}, "witness": vars(witness)}
            report = report or spool.keep(number=run.number, epoch=run.epoch, facts=facts)
            logger.warning("%s: the portal's database is away (%s); reported in %s.", run, type(error).__name__, report)
            if time.monotonic() >= give_up_at:
                raise
        time.sleep(PAUSE_BETWEEN_READS_S)
    if report is not None:
        report.unlink(missing_ok=True)
    return finished


def _conclude(
    run: MigrationRun, plan: Plan, executed: _Executed, witness: Witness, *, actor: Actor, narrator: Narrator
) -> MigrationRun:
    """Read the target back, judge, and end the attempt."""
    narrator.finish()
    if witness.touched:  # otherwise the phase goes on telling a reconciliation that nothing of this run can be there
        _enter(run, Phase.VERIFY, f"Reading {run.target} back on a fresh connection.", actor=actor)
    look = _read_back(run, url=executed.url, scripts=executed.scripts, needs_lock=witness.touched, actor=actor)
    judgement = judging.judge_look(run=run, plan=plan, before=executed.before, look=look, witness=witness)
    narrator.say(judgement.sentence)
    narrator.finish()
    failpoints.reach("before_finish")
    finished = attempts.finish(
        actor=actor,
        number=run.number,
        epoch=run.epoch,
        judgement=judgement,
        observation=look.observation if look else None,
        facts={"runner": {**vars(executed.ended), **narrator.facts}},
    )
    failpoints.reach("after_finish")
    return finished


def _enter(run: MigrationRun, phase: Phase, sentence: str, *, actor: Actor) -> None:
    attempts.enter_phase(actor=actor, number=run.number, epoch=run.epoch, phase=phase, sentence=sentence)
    run.phase = phase.value


def _interpreter(run: MigrationRun, plan: Plan) -> str:
    """The approved interpreter, built again if this worker does not have it. Raises Ended when it is not to be had."""
    approved = plan.parts.get("interpreter", "")
    try:
        return places.interpreter_of(run.target, snapshot=plan.snapshot, approved=approved).path
    except places.InterpreterChanged as error:
        raise Ended(RunState.VOID, error.code, f"Void: {error.message}") from error
    except PortalError as error:
        raise Ended(RunState.ERROR, error.code, f"Nothing was sent: {error.message}") from error


def _confinement(run: MigrationRun, plan: Plan, *, interpreter: str, actor: Actor) -> Confinement:
    """What keeps this run's scripts apart, recorded on the run. Raises Ended when it is less than what was approved."""
    try:
        found = places.confinement(plan.options["isolation"], interpreter=interpreter)
    except isolation.IsolationMissing as error:
        raise Ended(RunState.REFUSED, error.code, f"Refused before anything was sent: {error.message}") from error
    attempts.confine(actor=actor, number=run.number, epoch=run.epoch, isolation=found.level)
    run.isolation = found.level.value
    return found


def _stop_if_asked(run: MigrationRun, heartbeat: Heartbeat) -> None:
    """Nothing is started for a run that was cancelled or lost before."""
    lease = attempts.renew(number=run.number, epoch=run.epoch)
    if not lease.held or heartbeat.stop_reason() == "lost_lease":
        raise attempts.LostLease(f"{run} is no longer held in epoch {run.epoch}.")
    if lease.cancel_requested:
        raise Ended(RunState.CANCELLED, "cancelled", f"Cancelled before anything was sent to {run.target}.")


def _approved_scripts(plan: Plan, folder: Path) -> places.Scripts:
    scripts = places.Scripts(
        snapshot=plan.snapshot,
        graph=places.graph_from_dict(plan.snapshot.graph),
        commit=plan.base_observation.facts.get("commit", {}),
    )
    try:
        places.unpack(plan.snapshot, folder)
    except PortalError as error:
        raise Ended(
            RunState.VOID, "snapshot_damaged", f"Void: the stored snapshot is not what was approved. {error.message}"
        ) from error
    return scripts


def _read_back(
    run: MigrationRun, *, url: TargetUrl, scripts: places.Scripts, needs_lock: bool, actor: Actor
) -> observing.Look | None:
    """Fence, then read. None when the run's sessions could not be ended or the target does not answer in time."""
    give_up_at = time.monotonic() + READ_BACK_WITHIN_S
    while True:
        try:
            fenced = dialects.fence(
                url,
                prefix=places.prefix_of(run),
                sessions=places.sessions_of(run),
                budget_s=FENCE_BUDGET_S,
                needs_lock=needs_lock,
            )
        except PortalError as error:
            logger.warning("%s: not fenced: %s", run, error.message)
        else:
            if not fenced.clear:
                return None
            look = observing.look(run.target, actor=actor, purpose="verify", run=run, scripts=scripts)
            if look.reading is not None:
                return look
        if time.monotonic() >= give_up_at:
            return None
        time.sleep(PAUSE_BETWEEN_READS_S)
