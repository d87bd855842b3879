"""Runs and their plans. A token asks and runs; there is no endpoint that decides, because a decision is a person's."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Query, Router
from ninja.responses import Status

from migrations_audit import access
from migrations_audit.actions import rehearsals, runs, schedules
from migrations_audit.api import bearer, inputs, schemas, schemas_before
from migrations_audit.models import Evidence, LogLine, MigrationRun, Plan, Target
from migrations_audit.queries import gate
from migrations_audit.queries import runs as run_queries
from migrations_audit.states import Outcome, Verdict

router = Router(tags=["Runs"])

_DIGEST = re.compile("[0-9a-f]{64}")


class NoSuchPlan(access.Hidden):
    """There is no such plan, or you may not see it."""


@router.get("/plans/{digest}", response=schemas.Plan, summary="Show a plan")
def show_plan(request: HttpRequest, digest: str) -> schemas.Plan:
    """What would run: revisions, SQL, findings, and all that its digest covers."""
    actor = bearer.reader(request)
    plans = Plan.objects.select_related("target__project", "target__environment", "snapshot")
    light = plans.defer("snapshot__archive", "snapshot__files", "snapshot__graph")
    seen = light.filter(target__in=Target.objects.visible_to(actor.user_id))
    found = seen.filter(digest=digest).first() if _DIGEST.fullmatch(digest) else None
    if found is None:
        raise NoSuchPlan
    return schemas.Plan.of(found)


@router.get("/runs", response=schemas.Runs, summary="List runs")
def list_runs(request: HttpRequest, asked: Query[inputs.RunsAsked]) -> schemas.Runs:
    """Runs on the targets that you may see, newest first."""
    actor = bearer.reader(request)
    rows = MigrationRun.objects.visible_to(actor.user_id)
    if asked.target:
        rows = rows.filter(target=access.get_target_for(actor, gate.target_id(asked.target)))
    if asked.state is not None:
        rows = rows.filter(state=asked.state.value)
    if asked.environment:
        rows = rows.filter(target__environment__slug=asked.environment)
    if asked.requester:
        rows = rows.filter(requester_name=asked.requester)
    if asked.before is not None:
        rows = rows.filter(number__lt=asked.before)
    light = rows.select_related("target__project", "target__environment", "plan").defer("plan__sql", "plan__body")
    found = list(light.order_by("-number")[: asked.limit + 1])
    page = found[: asked.limit]
    return schemas.Runs(
        items=[schemas.RunSummary.of(row) for row in page],
        next_before=page[-1].number if len(found) > len(page) else None,
    )


@router.post("/runs", response={201: schemas.Run}, summary="Request a run")
def request_run(request: HttpRequest, payload: inputs.RunRequest, response: HttpResponse) -> Status[schemas.Run]:
    """Ask for an upgrade or a rollback of one target. The same open request of the same person is refused with 409.

    With an Idempotency-Key the same request is answered with the same run, as often as it is sent.
    """
    run = runs.request(
        actor=bearer.actor_of(request),
        target_id=gate.target_id(payload.target),
        revision=payload.revision,
        reason=payload.reason,
        ticket=payload.ticket,
        operation=payload.operation,
        rolls_back=payload.rolls_back,
        request_key=request.headers.get("Idempotency-Key", ""),
    )
    response["Location"] = reverse("api:show_run", kwargs={"number": run.number})
    return Status(201, schemas.Run.of(run))


@router.get("/runs/{int:number}", response=schemas.Run, summary="Show a run")
def show_run(request: HttpRequest, number: int) -> schemas.Run:
    """One run with its decisions and its steps."""
    return schemas.Run.of(access.get_run_for(bearer.reader(request), number))


@router.post("/runs/{int:number}/start", response=schemas.Run, summary="Run now")
def start(request: HttpRequest, number: int, payload: inputs.Start) -> schemas.Run:
    """Queue an approved run. The digest is that of the plan that you saw; in production confirm_target names the target."""
    actor = bearer.actor_of(request)
    run = runs.start(actor=actor, number=number, digest=payload.digest, confirm=payload.confirm_target)
    return schemas.Run.of(run)


@router.post("/runs/{int:number}/schedule", response=schemas.Run, summary="Schedule a run")
def schedule(request: HttpRequest, number: int, payload: inputs.Schedule) -> schemas.Run:
    """Have an approved run started later, by this token and with everything asked again then. Another time replaces the first."""
    actor = bearer.actor_of(request)
    run = schedules.schedule(
        actor=actor, number=number, digest=payload.digest, at=payload.at, confirm=payload.confirm_target
    )
    return schemas.Run.of(run)


@router.post("/runs/{int:number}/unschedule", response=schemas.Run, summary="Take a run off its schedule")
def unschedule(request: HttpRequest, number: int, payload: inputs.Nothing | None = None) -> schemas.Run:
    """It stays approved."""
    return schemas.Run.of(schedules.unschedule(actor=bearer.actor_of(request), number=number))


@router.post("/runs/{int:number}/cancel", response=schemas.Run, summary="Cancel a run")
def cancel(request: HttpRequest, number: int, payload: inputs.Nothing | None = None) -> schemas.Run:
    """Cancel a queued run at once, or ask a running one to stop. It then ends with what the target says."""
    return schemas.Run.of(runs.cancel(actor=bearer.actor_of(request), number=number))


@router.post("/runs/{int:number}/verify-again", response=schemas.Run, summary="Verify again")
def verify_again(request: HttpRequest, number: int, payload: inputs.Nothing | None = None) -> schemas.Run:
    """Have the target of a run of unknown outcome fenced and read now. Nothing is executed."""
    return schemas.Run.of(runs.verify_again(actor=bearer.actor_of(request), number=number))


@router.post("/runs/{int:number}/rehearse", response={202: schemas_before.Rehearsal}, summary="Rehearse a plan")
def rehearse(
    request: HttpRequest, number: int, payload: inputs.Nothing | None = None
) -> Status[schemas_before.Rehearsal]:
    """Have the plan played on a throw-away copy of its target. Ask for the run's rehearsals until it has ended."""
    return Status(202, schemas_before.Rehearsal.of(rehearsals.ask(actor=bearer.actor_of(request), number=number)))


@router.get("/runs/{int:number}/rehearsals", response=list[schemas_before.Rehearsal], summary="Show rehearsals")
def show_rehearsals(request: HttpRequest, number: int) -> list[schemas_before.Rehearsal]:
    """The rehearsals of a run, newest first: what each revision executed, locked and changed on a copy."""
    run = access.get_run_for(bearer.reader(request), number)
    found = run.rehearsals.select_related("plan").defer(*run_queries.HEAVY).order_by("-pk")
    return [schemas_before.Rehearsal.of(each) for each in found[:20]]


@router.post("/runs/{int:number}/withdraw", response=schemas.Run, summary="Withdraw a run")
def withdraw(request: HttpRequest, number: int, payload: inputs.Withdrawal | None = None) -> schemas.Run:
    """Take one's own request back before it starts."""
    comment = payload.comment if payload else ""
    return schemas.Run.of(runs.withdraw(actor=bearer.actor_of(request), number=number, comment=comment))


@router.get("/runs/{int:number}/log", response=schemas.Log, summary="Read the log")
def show_log(request: HttpRequest, number: int, asked: Query[inputs.LogAsked]) -> schemas.Log:
    """The run's log after a line. Ask again with next_after until is_complete."""
    run = access.get_run_for(bearer.reader(request), number)
    found = list(LogLine.objects.filter(run=run, seq__gt=asked.after).order_by("seq")[: asked.limit + 1])
    page = found[: asked.limit]
    return schemas.Log(
        run=run.number,
        state=run.run_state,
        items=[schemas.LogLine.model_validate(line) for line in page],
        next_after=page[-1].seq if page else asked.after,
        is_complete=run.is_terminal and len(found) == len(page),
    )


@router.get("/runs/{int:number}/evidence", response=schemas.RunEvidence, summary="Show the evidence")
def show_evidence(request: HttpRequest, number: int) -> schemas.RunEvidence:
    """What was checked after the run, and what was observed."""
    run = access.get_run_for(bearer.reader(request), number)
    return schemas.RunEvidence(
        run=run.number,
        verdict=Verdict(run.verdict),
        verified_by=run.verified_by_id,
        items=[
            schemas.Check(
                check=row.check_name,
                expected=row.expected,
                observed=row.observed,
                outcome=Outcome(row.outcome),
                detail=row.detail,
                observation=row.observation_id,
                at=row.at,
            )
            for row in Evidence.objects.filter(run=run).order_by("pk")
        ],
    )
