"""What became of a run whose worker was lost: fence first, then read, then say. Never the other way round.

A client that dies inside COMMIT leaves the old revision visible for seconds and the new one afterwards; only a reading after the
run's sessions are gone is the truth.
"""

from __future__ import annotations

import logging

from migrations_audit import failpoints
from migrations_audit.actions import attempts
from migrations_audit.actors import worker
from migrations_audit.engine import dialects
from migrations_audit.errors import PortalError
from migrations_audit.execution import judging, observing, places
from migrations_audit.execution.heartbeat import Heartbeat
from migrations_audit.judgement import Judgement, Witness
from migrations_audit.models import MigrationRun
from migrations_audit.states import Phase, RunState, Verdict

logger = logging.getLogger(__name__)

FENCE_BUDGET_S = 30.0


def reconcile_run(*, number: int, worker_name: str) -> MigrationRun | None:
    """Find out what run ``number`` left behind. None when it is not of unknown outcome, or another worker is at it."""
    actor = worker(worker_name)
    try:
        run = attempts.take_over(actor=actor, number=number)
    except attempts.NotClaimable as error:
        logger.info("Not reconciled: %s", error.message)
        return None
    failpoints.reach("after_take_over")
    with Heartbeat.of_run(number=number, epoch=run.epoch):
        try:
            judgement, look = _find_out(run, worker_name=worker_name)
        except Exception as error:  # the outermost frame of the reconciliation; that it failed is stored
            logger.exception("Run %s was not reconciled.", number)
            sentence = f"{actor.name} hit an error of its own ({type(error).__name__}) while it looked. Its log has the details."
            judgement, look = _unknown("reconciler_error", sentence), None
    try:
        return attempts.finish(
            actor=actor,
            number=number,
            epoch=run.epoch,
            judgement=judgement,
            observation=look.observation if look else None,
            facts={"reconciled": True},
        )
    except attempts.LostLease as error:
        logger.warning("Stopped: %s", error.message)
        return None


def _find_out(run: MigrationRun, *, worker_name: str) -> tuple[Judgement, observing.Look | None]:
    plan = run.plan
    if plan is None:
        raise RuntimeError(f"{run} has an unknown outcome and no plan.")
    # The project gets no connection before the phase is entered (attempts.begin_execution).
    touched = run.phase in (Phase.EXECUTE.value, Phase.VERIFY.value)
    try:
        url = places.url_of(run.target)
        fenced = dialects.fence(
            url,
            prefix=places.prefix_of(run),
            sessions=places.sessions_of(run),
            budget_s=FENCE_BUDGET_S,
            needs_lock=touched,
        )
    except PortalError as error:
        return _unknown(
            "target_not_reached", f"{run.target} cannot be reached to find out what the run did: {error.message}"
        ), None
    if not fenced.clear:
        alive = ", ".join(f"session {item.pid} of {item.user} ({item.state})" for item in fenced.remaining)
        holder = f"the run lock is held by session {fenced.lock_holder.pid}" if fenced.lock_holder else ""
        who = "; ".join(part for part in (alive, holder) if part) or "the run lock is not free"
        return _unknown(
            "not_fenced",
            f"Sessions on {run.target} could not be ended: {who}. A person with rights there must end them.",
        ), None
    failpoints.reach("in_reconcile")
    scripts = places.Scripts(snapshot=plan.snapshot, graph=places.graph_from_dict(plan.snapshot.graph))
    look = observing.look(run.target, actor=worker(worker_name), purpose="reconcile", run=run, scripts=scripts)
    if look.reading is None:
        return _unknown("target_not_read", look.observation.sentence), look
    witness = Witness(
        by_reconciliation=True,
        cancel_requested=run.cancel_requested_at is not None,
        touched=touched,
    )
    return judging.judge_look(run=run, plan=plan, before=None, look=look, witness=witness), look


def _unknown(code: str, sentence: str) -> Judgement:
    return Judgement(
        RunState.OUTCOME_UNKNOWN,
        Verdict.UNVERIFIED,
        code,
        f"{sentence} The outcome stays unknown; the portal tries again.",
    )
