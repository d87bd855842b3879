"""Drives the runner through one execution. After a lock timeout everything is rolled back, and it begins anew as a whole.

Only where every revision is transactional, only when the target was read exactly as approved afterwards, and only within the
environment's budget; a wait for a lock is never given up in favour of one without a timeout.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from migrations_audit.actions import plans
from migrations_audit.engine import children, dialects, launch, process, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import commands, places, runner_request
from migrations_audit.execution.blocking import BlockerWatch
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.execution.narration import Narrator
from migrations_audit.judgement import Check, Judgement
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.states import RunState, Verdict

logger = logging.getLogger(__name__)

GAVE_WAY: Final = {"55P03": "a lock timeout", "40P01": "a deadlock"}
"""SQLSTATEs after which the server has rolled back and another try may find the lock free."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
ASK_EVERY_S: Final = 0.25
FENCE_BUDGET_S: Final = 10.0


class Ended(Exception):
    """The attempt ends here with this judgement; nothing was executed."""

    def __init__(self, state: RunState, code: str, sentence: str, checks: Sequence[Check] = ()) -> None:
        super().__init__(sentence)
        self.judgement = Judgement(state, Verdict.UNVERIFIED, code, sentence, tuple(checks))


@dataclass(frozen=True)
class Subject:
    """What is executed, and where: the approved plan, its unpacked scripts, the target's URL."""

    run: MigrationRun
    plan: Plan
    url: TargetUrl
    folder: Path
    scripts: places.Scripts
    interpreter: str
    confinement: launch.Confinement


def execute(subject: Subject, *, narrator: Narrator, heartbeat: Heartbeat) -> types.RunnerExit:
    """Let the runner execute the plan, and return how it ended last. Raises Ended when it could not be started."""
    limits = runner_request.limits(subject.plan)
    began = time.monotonic()
    gives_up_at: float | None = None
    attempt = 1
    while True:
        left_s = max(1, round(limits.deadline_s - (time.monotonic() - began)))
        ended = _once(subject, replace(limits, deadline_s=left_s), narrator=narrator, heartbeat=heartbeat)
        why = GAVE_WAY.get(narrator.sqlstate, "")
        if not why or ended.ended_by != "itself":
            return ended
        if gives_up_at is None:
            budget_s = subject.plan.options["lock_retry_budget_s"]
            gives_up_at = min(time.monotonic() + budget_s, began + limits.deadline_s)
        pause_s = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311
        whole = subject.plan.is_transactional and not narrator.has_committed
        if not whole or time.monotonic() + pause_s >= gives_up_at or not _is_as_approved(subject):
            narrator.gave_up_after(attempt)
            return ended
        attempt += 1
        held = f"; the lock was {narrator.held_by}" if narrator.blockers else ""
        narrator.start_over(
            f"Rolled back after {why}{held}. Everything begins anew in {pause_s:.1f} s; attempt {attempt}.",
            attempt=attempt,
            sqlstate=narrator.sqlstate,
            blockers=narrator.blockers,
        )
        reason = _wait(pause_s, narrator=narrator, heartbeat=heartbeat)
        if reason:
            return replace(ended, ended_by=reason)


def _once(subject: Subject, limits: types.RunLimits, *, narrator: Narrator, heartbeat: Heartbeat) -> types.RunnerExit:
    run, configuration = subject.run, subject.scripts.configuration
    watch = BlockerWatch(
        subject.url,
        prefix=places.tag_of(run),
        lock_timeout_ms=limits.lock_timeout_ms,
        statement_since=lambda: narrator.statement_since,
    )

    def stop() -> str | None:
        narrator.waits_for(watch.seen)
        narrator.tick()
        return heartbeat.stop_reason()

    try:
        with watch:
            return process.run(
                request=runner_request.online(run=run, plan=subject.plan, url=subject.url, configuration=configuration),
                interpreter=subject.interpreter,
                confinement=subject.confinement,
                snapshot=subject.folder,
                folder=subject.folder / commands.working_directory(run.target.project, configuration),
                limits=limits,
                on_event=narrator.event,
                on_output=narrator.output,
                may_go=narrator.may_go,
                stop=stop,
                interrupt=lambda: _interrupt(subject),
            )
    except (children.CannotStart, process.ForbiddenVariable) as error:
        sentence = f"The runner could not be started: {error.message} Nothing of the run is in {subject.run.target}."
        raise Ended(RunState.ERROR, error.code, sentence) from error


def foreign_signal(ended: types.RunnerExit, limits: types.RunLimits) -> str:
    """A sentence about a signal that ended the runner and that the portal did not send; else the empty text."""
    if not ended.signal or ended.ended_by != "itself":
        return ""
    return (
        f"The runner was ended by signal {ended.signal}, which the portal did not send. A machine or container out of memory "
        f"does that; a run may use {limits.memory_bytes // 1024**2} MiB here."
    )


def _interrupt(subject: Subject) -> None:
    try:
        dialects.cancel(subject.url, prefix=places.tag_of(subject.run), sessions=places.sessions_of(subject.run))
    except PortalError as error:
        logger.warning("%s: the server was not asked to cancel: %s", subject.run, error.message)


def _is_as_approved(subject: Subject) -> bool:
    """Whether nothing of the failed attempt is left: its sessions are gone, rows and catalog are those of the plan."""
    project = subject.run.target.project
    try:
        fenced = dialects.fence(
            subject.url,
            prefix=places.prefix_of(subject.run),
            sessions=places.sessions_of(subject.run),
            budget_s=FENCE_BUDGET_S,
        )
        reading = dialects.read(
            subject.url,
            version_table=project.version_table,
            version_schema=project.version_table_schema,
            application_name=places.OBSERVER,
        )
    except PortalError as error:
        logger.warning("%s: not tried again: %s", subject.run, error.message)
        return False
    start = plans.start_digest(rows=reading.revisions or (), catalog=reading.catalog.fingerprint)
    same_database = plans.identity_facts(reading.identity.as_dict()) == plans.identity_facts(subject.plan.identity)
    return fenced.clear and same_database and start == subject.plan.parts["start"]


def _wait(seconds: float, *, narrator: Narrator, heartbeat: Heartbeat) -> str | None:
    """Pause, and return early with the reason when the run is to stop."""
    end = time.monotonic() + seconds
    while (reason := heartbeat.stop_reason()) is None and (left := end - time.monotonic()) > 0:
        time.sleep(min(ASK_EVERY_S, left))
        narrator.tick()
    return reason
