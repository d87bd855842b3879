"""Targets, what was read of them, Check now, and the gate."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Query, Router
from ninja.responses import Status

from migrations_audit import access
from migrations_audit.actions import evidence
from migrations_audit.api import bearer, inputs, schemas
from migrations_audit.models import Observation, Target
from migrations_audit.models.clock import database_now
from migrations_audit.models.evidence import ObservationQuerySet
from migrations_audit.queries import gate

router = Router(tags=["Targets"])

_HEAVY = ("snapshot__archive", "snapshot__files", "snapshot__graph")


@router.get("/targets", response=schemas.Targets, summary="List targets")
def list_targets(request: HttpRequest, asked: Query[inputs.TargetsAsked]) -> schemas.Targets:
    """The targets that you may see, each with the last reading of it."""
    actor = bearer.reader(request)
    rows = Target.objects.visible_to(actor.user_id).filter(pk__gt=asked.after)
    if asked.project:
        rows = rows.filter(project__slug=asked.project)
    if asked.environment:
        rows = rows.filter(environment__slug=asked.environment)
    found = list(rows.select_related("project", "environment").order_by("pk")[: asked.limit + 1])
    page = found[: asked.limit]
    now = database_now()
    last = {row.target_id: row for row in _observations().filter(target__in=page).latest_per_target()}
    return schemas.Targets(
        items=[schemas.Target.of(row, last=last.get(row.pk), now=now) for row in page],
        next_after=page[-1].pk if len(found) > len(page) else None,
    )


@router.get("/targets/{int:target_id}", response=schemas.Target, summary="Show a target")
def show_target(request: HttpRequest, target_id: int) -> schemas.Target:
    """One target with the last reading of it."""
    target = access.get_target_for(bearer.reader(request), target_id)
    last = _observations().filter(target=target).order_by("-at", "-id").first()
    return schemas.Target.of(target, last=last, now=database_now())


@router.get("/targets/{int:target_id}/observations", response=schemas.Observations, summary="List observations")
def list_observations(
    request: HttpRequest, target_id: int, asked: Query[inputs.ObservationsAsked]
) -> schemas.Observations:
    """What was read of a target, newest first."""
    target = access.get_target_for(bearer.reader(request), target_id)
    rows = _observations().filter(target=target, pk__gt=asked.after)
    if asked.before is not None:
        rows = rows.filter(pk__lt=asked.before)
    found = list(rows.order_by("-id")[: asked.limit + 1])
    page = found[: asked.limit]
    now = database_now()
    return schemas.Observations(
        items=[schemas.Observation.of(row, environment=target.environment, now=now) for row in page],
        next_before=page[-1].pk if len(found) > len(page) else None,
    )


@router.post("/targets/{int:target_id}/observe", response={202: schemas.CheckRequested}, summary="Check now")
def observe(
    request: HttpRequest, target_id: int, payload: inputs.Nothing | None = None
) -> Status[schemas.CheckRequested]:
    """Ask a worker to read the target now. The answer does not wait for the reading."""
    last = Observation.objects.filter(target_id=target_id).order_by("-id").values_list("pk", flat=True).first()
    target = evidence.request_observation(actor=bearer.actor_of(request), target_id=target_id)
    return Status(202, schemas.CheckRequested(target=target.label, last_observation=last))


@router.get(
    "/gate",
    response={200: schemas.Gate, 409: schemas.ClosedGate, 503: schemas.ClosedGate},
    summary="Gate a deploy",
    tags=["Gate"],
)
def show_gate(request: HttpRequest, asked: Query[inputs.GateAsked]) -> Status[schemas.Gate]:
    """Whether the target really has the revision that a deploy needs.

    200 only for in_sync, which takes a fresh reading of the enrolled database. 409 when it says otherwise: behind, ahead,
    unknown_revision, several_heads, not_initialised, wrong_database, regressed, tables_missing. 503 when no reading counts:
    could_not_read.
    """
    now = database_now()
    found = gate.check(actor=bearer.reader(request), target=asked.target, expect=asked.expect, now=now)
    facts = schemas.Gate.facts(found, now=now)
    if found.is_open:
        return Status(200, schemas.Gate(**facts))
    error = schemas.Problem(code=found.reason or found.answer.value, message=found.sentence)
    status = 503 if found.answer is gate.Answer.COULD_NOT_READ else 409
    return Status(status, schemas.ClosedGate(**facts, error=error))


def _observations() -> ObservationQuerySet:
    return Observation.objects.select_related("snapshot").defer(*_HEAVY)
