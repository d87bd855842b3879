"""The script of one run: claim, preflight, execute, fence, verify. Its worker may be lost at any line of it."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from django.db import DatabaseError

from migrations_audit import failpoints
from migrations_audit.actions import attempts, plans
from migrations_audit.actors import Actor, worker
from migrations_audit.engine import children, fence, process, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import judging, observing, places, planning, runner_request
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.execution.narration import Narrator
from migrations_audit.judgement import Judgement, Witness, rows_text
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import Phase, RunState, TargetStatus, Verdict

logger = logging.getLogger(__name__)

FENCE_BUDGET_S = 20.0
READ_BACK_WITHIN_S = 30.0
PAUSE_BETWEEN_READS_S = 2.0


class _Ended(Exception):
    """The attempt ends here with this judgement; nothing was executed."""

    def __init__(self, state: RunState, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.judgement = Judgement(state, Verdict.UNVERIFIED, code, sentence)


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
    with Heartbeat(number=run.number, epoch=run.epoch) as heartbeat:
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
    except _Ended as end:
        narrator.say(end.judgement.sentence)
        narrator.flush()
        return attempts.finish(
            actor=actor, number=run.number, epoch=run.epoch, judgement=end.judgement, observation=None
        )
    ended = executed.ended
    witness = replace(
        narrator.witness,
        exit_code=ended.exit_code if not ended.signal else None,
        ended_by=ended.ended_by if not ended.signal else f"{ended.ended_by} (signal {ended.signal})",
        cancel_requested=ended.ended_by == "cancel" or heartbeat.stop_reason() == "cancel",
    )
    narrator.say(
        f"The runner has ended ({witness.ended_by}, exit code {witness.exit_code}). Ending its sessions and reading the target."
    )
    return _conclude(run, plan, executed, witness, actor=actor, narrator=narrator)


def _carry_out(run: MigrationRun, plan: Plan, *, actor: Actor, heartbeat: Heartbeat, narrator: Narrator) -> _Executed:
    before = _preflight(run, plan, actor=actor, narrator=narrator)
    url = places.url_of(run.target)
    with tempfile.TemporaryDirectory(prefix="opsportal-run-") as scratch:
        folder = Path(scratch) / "snapshot"
        scripts = _approved_scripts(run, plan, folder)
        sentence = f"The runner connects to {url.display()} and takes the run lock there."
        _enter(run, Phase.LOCK, sentence, actor=actor)
        _stop_if_asked(run, heartbeat)
        failpoints.reach("before_runner")
        ended = _execute(run, plan, url=url, folder=folder, scripts=scripts, narrator=narrator, heartbeat=heartbeat)
        failpoints.reach("after_runner")
    return _Executed(before, url, scripts, ended)


def _conclude(
    run: MigrationRun, plan: Plan, executed: _Executed, witness: Witness, *, actor: Actor, narrator: Narrator
) -> MigrationRun:
    """Read the target back, judge, and end the attempt."""
    narrator.flush()
    _enter(run, Phase.VERIFY, f"Reading {run.target} back on a fresh connection.", actor=actor)
    look = _read_back(run, url=executed.url, scripts=executed.scripts, actor=actor)
    judgement = judging.judge_look(run=run, plan=plan, before=executed.before, look=look, witness=witness)
    narrator.say(judgement.sentence)
    narrator.flush()
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


def _stop_if_asked(run: MigrationRun, heartbeat: Heartbeat) -> None:
    """Nothing is started for a run that was cancelled or lost before."""
    lease = attempts.renew(number=run.number, epoch=run.epoch)
    if not lease.held or heartbeat.stop_reason() == "lost_lease":
        raise attempts.LostLease(f"{run} is no longer held in epoch {run.epoch}.")
    if lease.cancel_requested:
        raise _Ended(RunState.CANCELLED, "cancelled", f"Cancelled before anything was sent to {run.target}.")


def _preflight(run: MigrationRun, plan: Plan, *, actor: Actor, narrator: Narrator) -> observing.Look:
    """Look at scripts and target once more. Raises _Ended when anything approved has changed, saying which part."""
    target = run.target
    look = observing.look(target, actor=actor, purpose="preflight", run=run)
    observation = look.observation
    narrator.say(f"Preflight: {observation.sentence}")
    if look.reading is None:
        raise _Ended(
            RunState.REFUSED, observation.error_code, f"Refused before anything was sent: {observation.sentence}"
        )
    if observation.status == TargetStatus.WRONG_DATABASE:
        raise _Ended(RunState.REFUSED, "wrong_database", f"Refused: {observation.sentence}")
    if look.reading.identity.in_recovery:
        raise _Ended(RunState.REFUSED, "standby", f"Refused: the server of {target} is a standby, which only reads.")
    if look.reading.pooled:
        raise _Ended(
            RunState.REFUSED,
            "pooler",
            f"Refused: a connection pooler stands before {target}. Use a direct address for runs.",
        )
    if look.scripts is None:
        raise _Ended(
            RunState.VOID, "scripts_changed", f"Void: the scripts cannot be read any more. {observation.sentence}"
        )
    if look.scripts.snapshot.digest != plan.parts["scripts"]:
        raise _Ended(
            RunState.VOID,
            "scripts_changed",
            f"Void: the script files changed after the plan was approved ({plan.parts['scripts'][:12]} then, "
            f"{look.scripts.snapshot.digest[:12]} now). Request the upgrade again.",
        )
    _compare_start(run, plan, look.reading)
    if observation.status == TargetStatus.UNREADABLE_SCRIPTS:
        raise _Ended(RunState.REFUSED, "unreadable_scripts", f"Refused: {observation.sentence}")
    narrator.flush()
    return look


def _compare_start(run: MigrationRun, plan: Plan, reading: types.Reading) -> None:
    found = plans.identity_facts(reading.identity.as_dict())
    if found != plans.identity_facts(plan.identity):
        raise _Ended(
            RunState.VOID,
            "identity_changed",
            f"Void: {run.target} is not the database of the plan any more. Check now, look at its identity, and request again.",
        )
    rows = reading.revisions or ()
    if sorted(rows) != sorted(plan.from_revisions):
        already = (
            " That is where this plan leads; somebody else did it." if sorted(rows) == sorted(plan.to_revisions) else ""
        )
        raise _Ended(
            RunState.VOID,
            "start_changed",
            f"Void: {run.target} was at {rows_text(plan.from_revisions)} when this was approved and is at "
            f"{rows_text(reading.revisions)} now.{already} Plan again from there.",
        )
    if plans.start_digest(rows=rows, catalog=reading.catalog.fingerprint) != plan.parts["start"]:
        raise _Ended(
            RunState.VOID,
            "catalog_changed",
            f"Void: the revision of {run.target} is the same, but its catalog changed after the plan was made. Plan again.",
        )


def _approved_scripts(run: MigrationRun, plan: Plan, folder: Path) -> places.Scripts:
    scripts = places.Scripts(snapshot=plan.snapshot, graph=places.graph_from_dict(plan.snapshot.graph))
    try:
        planning.unpack(run.target.project, scripts, folder)
    except PortalError as error:
        raise _Ended(
            RunState.VOID, "snapshot_damaged", f"Void: the stored snapshot is not what was approved. {error.message}"
        ) from error
    return scripts


def _execute(
    run: MigrationRun,
    plan: Plan,
    *,
    url: TargetUrl,
    folder: Path,
    scripts: places.Scripts,
    narrator: Narrator,
    heartbeat: Heartbeat,
) -> types.RunnerExit:
    def stop() -> str | None:
        narrator.tick()
        return heartbeat.stop_reason()

    try:
        return process.run(
            request=runner_request.online(run=run, plan=plan, url=url, configuration=scripts.configuration),
            interpreter=places.interpreter_of(run.target.project),
            folder=folder / scripts.configuration.working_directory,
            limits=runner_request.limits(plan),
            on_event=narrator.event,
            on_output=narrator.output,
            may_go=narrator.may_go,
            stop=stop,
            interrupt=lambda: _interrupt(run, url),
        )
    except (children.CannotStart, process.ForbiddenVariable, places.NoInterpreter) as error:
        sentence = f"The runner could not be started: {error.message} Nothing was sent."
        raise _Ended(RunState.ERROR, error.code, sentence) from error


def _interrupt(run: MigrationRun, url: TargetUrl) -> None:
    try:
        fence.cancel(url, prefix=places.tag_of(run))
    except PortalError as error:
        logger.warning("%s: the server was not asked to cancel: %s", run, error.message)


def _read_back(run: MigrationRun, *, url: TargetUrl, scripts: places.Scripts, actor: Actor) -> observing.Look | None:
    """Fence, then read. None when the run's sessions could not be ended or the target does not answer in time."""
    give_up_at = time.monotonic() + READ_BACK_WITHIN_S
    while True:
        try:
            fenced = fence.fence(url, prefix=places.prefix_of(run), budget_s=FENCE_BUDGET_S)
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
