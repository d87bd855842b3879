"""The runbook of a run: what to do if it goes wrong, written before anybody approves a plan that cannot be taken back exactly."""

from __future__ import annotations

from typing import Final

from migrations_audit import access
from migrations_audit.actions import audit, moves, texts
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Denied, Invalid
from migrations_audit.models import MigrationRun, Rehearsal, Role
from migrations_audit.models.approvals import Decision
from migrations_audit.models.clock import database_now
from migrations_audit.queries import rehearsals
from migrations_audit.states import RunState

LONGEST_RUNBOOK: Final = 10_000
SHORTEST_RUNBOOK: Final = 30


class RunbookMissing(Denied):
    """This plan cannot be taken back exactly, so production asks for a runbook before anybody approves."""

    code = "runbook_missing"


class RunbookSettled(Conflict):
    """Somebody has approved with this runbook. Have the approvals taken back before you change it."""

    code = "runbook_settled"


@audit.action
def write(*, actor: Actor, number: int, text: str) -> MigrationRun:
    """Write down what to do if the run goes wrong, or write it anew as long as nobody has approved with it.

    For the requester, approvers and operators. Raises Invalid, MissingRole, StaleRun and RunbookSettled.
    """
    run = moves.lock(number)
    access.get_run_for(actor, run.number)
    if actor.user_id != run.requester_id:
        access.need_any(actor, run.target.environment, Role.APPROVER, Role.OPERATOR)
    access.need_scope(actor, "request")
    moves.expect(run, RunState.AWAITING_APPROVAL, RunState.APPROVED, verb="given a runbook")
    words = texts.check(text, field="runbook", longest=LONGEST_RUNBOOK, required=True)
    if len(words) < SHORTEST_RUNBOOK:
        raise Invalid(
            "Write who is told, how it is noticed, and what to do then: a person at night works by it.",
            field="runbook",
        )
    if run.approvals.filter(decision=Decision.APPROVE, withdrawn_at__isnull=True).exists():
        raise RunbookSettled(f"Somebody has approved {run} with this runbook. Have the approvals taken back first.")
    values = {"runbook": words, "runbook_by_name": actor.name, "runbook_at": database_now()}
    MigrationRun.objects.filter(number=run.number, epoch=run.epoch).update(**values)
    for name, value in values.items():
        setattr(run, name, value)
    audit.record_run(actor=actor, action="run.runbook_written", run=run, runbook=words)
    return run


def check(run: MigrationRun, rehearsal: Rehearsal | None) -> None:
    """Raise RunbookMissing where production has a plan that its rehearsal did not see taken back exactly, and no runbook."""
    if rehearsal is not None and rehearsals.needs_runbook(run, rehearsal):
        raise RunbookMissing(
            f"No rehearsal saw this plan taken back exactly (graded: {rehearsal.get_grade_display() or 'not at all'}), so "
            f"{run.target.environment.name} asks for a runbook: what to do if it goes wrong. Write it on the run's page."
        )
