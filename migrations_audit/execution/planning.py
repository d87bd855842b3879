"""Plan a run: snapshot, graph, observation, steps, SQL, digest. Nothing of the project is executed but its offline mode."""

from __future__ import annotations

import logging
from dataclasses import replace

from migrations_audit.actions import moves, plans
from migrations_audit.actors import Actor, worker
from migrations_audit.engine import catalog, process, resolve, types
from migrations_audit.errors import PortalError
from migrations_audit.execution import adopting, authorship, commands, finding, observing, offline, places
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.models import MigrationRun, Observation, Plan
from migrations_audit.queries import bound, leftovers
from migrations_audit.states import Operation, RunState, TargetStatus

logger = logging.getLogger(__name__)


class CannotPlan(PortalError):
    """No plan can be made."""

    code = "cannot_plan"

    def __init__(self, message: str, *, code: str = "cannot_plan") -> None:
        super().__init__(message)
        self.code = code


def plan_run(*, number: int, worker_name: str) -> Plan | None:
    """Plan run ``number``, or record why there is no plan. None when there is none, or another worker has it."""
    actor = worker(worker_name)
    try:
        run = plans.begin(actor=actor, number=number)
    except plans.NotPlannable as error:
        logger.info("Not planned: %s", error.message)
        return None
    if run.run_state is not RunState.PLANNING:
        return None
    with Heartbeat.of_run(number=run.number, epoch=run.epoch):
        try:
            return _plan(run, actor=actor)
        except moves.StaleRun as error:
            logger.info("Not planned: %s", error.message)
    return None


def _plan(run: MigrationRun, *, actor: Actor) -> Plan | None:
    try:
        draft = _draft(run, actor_name=actor.name)
    except PortalError as error:
        plans.fail(actor=actor, number=run.number, epoch=run.epoch, code=error.code, sentence=error.message)
        return None
    except (
        Exception
    ) as error:  # the outermost frame of planning; a plan that breaks its planner would be tried for ever
        logger.exception("Run %s was not planned.", run.number)
        sentence = (
            f"{actor.name} hit an error of its own ({type(error).__name__}) while planning. Its log has the details."
        )
        plans.fail(actor=actor, number=run.number, epoch=run.epoch, code="planner_error", sentence=sentence)
        return None
    try:
        return plans.record(actor=actor, number=run.number, epoch=run.epoch, draft=draft)
    except plans.SettingsChanged as error:
        plans.fail(actor=actor, number=run.number, epoch=run.epoch, code=error.code, sentence=error.message)
    return None


def _draft(run: MigrationRun, *, actor_name: str) -> plans.Draft:
    look = observing.look(run.target, actor=worker(actor_name), purpose="plan", run=run)
    if look.reading is None or look.scripts is None or look.url is None:
        raise CannotPlan(look.observation.sentence, code=look.observation.error_code or "unreadable_scripts")
    _refuse_unplannable(run, look.observation, is_pooled=look.reading.pooled)
    look.url.without_password(run.target.project.driver)  # raises for a driver of another engine
    left = leftovers.of_reading(
        run.target,
        rows=look.reading.revisions or (),
        fingerprint=look.reading.catalog.fingerprint,
        kinds=catalog.KINDS,
    )
    if left is not None:
        raise CannotPlan(
            f"{left} left it {left.reason_code.replace('_', ' ')}, and it is read as it was left then. Its evidence lists what "
            f"differs. Repair {run.target} by hand and check it, or accept it as it is on the page of run {left.number}.",
            code="left_partly_applied",
        )
    resolution = resolve.resolve(
        look.scripts.graph,
        operation=Operation(run.operation),
        requested=run.requested,
        current=look.reading.revisions or (),
    )
    commands.words(run.target.project, operation=resolution.operation, destination=resolve.argument(resolution))
    if resolution.operation is Operation.ADOPT:
        adopting.check(run, look.reading)
    interpreter = places.interpreter_of(run.target, snapshot=look.scripts.snapshot)
    sql = _sql(run, look, resolution, interpreter=interpreter.path)
    wrote = authorship.of_plan(run, look.scripts, resolution)
    return plans.Draft(
        requested=run.requested,
        from_revisions=resolution.start,
        to_revisions=resolution.result,
        destination=[resolve.argument(resolution)],
        steps=[
            replace(step, transactional=step.transactional and look.reading.transactional_ddl).as_dict()
            for step in resolution.steps
        ],
        sql=sql.sql or "",
        sql_reason=sql.reason,
        findings=finding.of_plan(run, look, resolution, sql, wrote),
        identity=look.reading.identity.as_dict(),
        snapshot=look.scripts.snapshot,
        base_observation=look.observation,
        settings=bound.parts(run.target)["target"],
        connection=dict(look.url.parameters),
        worker=places.worker_settings(run.target),
        interpreter=interpreter.digest,
        authors=[author.as_dict() for author in wrote.authors],
    )


def _sql(
    run: MigrationRun, look: observing.Look, resolution: types.Resolution, *, interpreter: str
) -> process.OfflineResult:
    if reason := offline.why_none(run, resolution):
        return process.OfflineResult(None, reason)
    if look.url is None or look.scripts is None:
        raise CannotPlan("The target was not read.")
    return offline.sql(
        run,
        resolution,
        url=look.url,
        identity=look.observation.identity or {},
        scripts=look.scripts,
        interpreter=interpreter,
        confinement=places.confinement(run.target.environment.isolation, interpreter=interpreter),
    )


def _refuse_unplannable(run: MigrationRun, observation: Observation, *, is_pooled: bool) -> None:
    if observation.status in (TargetStatus.WRONG_DATABASE, TargetStatus.UNREADABLE_SCRIPTS):
        raise CannotPlan(observation.sentence, code=observation.status)
    if is_pooled:
        raise CannotPlan(
            f"A connection pooler stands before {run.target}. A run needs one session from its begin to its end, which a pooler "
            "does not promise: use a direct address.",
            code="pooler",
        )
