"""The target page, and what is asked for there."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST, require_safe

from migrations_audit import access, requests
from migrations_audit.access import actor_of
from migrations_audit.actions import enrolment, evidence, runs
from migrations_audit.errors import Invalid, PortalError
from migrations_audit.models.clock import database_now
from migrations_audit.queries import targets
from migrations_audit.states import Operation
from migrations_audit.web import pages

FIELDS = ("revision", "reason", "ticket", "rolls_back")


@require_safe
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """The target, for whoever may see it. ``?rolls_back=N`` prepares the rollback of run N."""
    return _page(request, pk, typed={"rolls_back": request.GET.get("rolls_back", "")})


@require_POST
def check(request: HttpRequest, pk: int) -> HttpResponse:
    """Check now. Pressed on a run's page it leads back there."""
    target = evidence.request_observation(actor=actor_of(request), target_id=pk)
    messages.info(
        request, f"A worker was asked to read {target}. The reading appears here in a moment; reload the page."
    )
    number = pages.number(request.POST.get("run", ""))
    return pages.to_target(pk) if number is None else pages.to_run(number)


@require_POST
def upgrade(request: HttpRequest, pk: int) -> HttpResponse:
    """Plan upgrade: ask for a run."""
    return _request(request, pk, Operation.UPGRADE)


@require_POST
def rollback(request: HttpRequest, pk: int) -> HttpResponse:
    """Plan rollback: ask for a run that goes back."""
    return _request(request, pk, Operation.ROLLBACK)


@require_POST
def adopt(request: HttpRequest, pk: int) -> HttpResponse:
    """Adopt: ask for a run that notes the revision of a database which nobody's Alembic made."""
    return _request(request, pk, Operation.ADOPT)


@require_POST
def forget(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget identity, because the database was replaced on purpose."""
    try:
        target = enrolment.forget_identity(actor=actor_of(request), target_id=pk, reason=request.POST.get("reason", ""))
    except Invalid as error:
        return _again(request, pk, form="forget", error=error, status=400)
    messages.info(request, f"The identity of {target} is forgotten. The next reading enrols what it finds.")
    return pages.to_target(pk)


def _request(request: HttpRequest, pk: int, operation: Operation) -> HttpResponse:
    try:
        run = runs.request(
            actor=actor_of(request),
            target_id=pk,
            operation=operation,
            revision=request.POST.get("revision", ""),
            reason=request.POST.get("reason", ""),
            ticket=request.POST.get("ticket", ""),
            rolls_back=pages.number(request.POST.get("rolls_back", "")) if operation is Operation.ROLLBACK else None,
        )
    except Invalid as error:
        return _again(request, pk, form=operation.value, error=error, status=400)
    except runs.AlreadyRequested as error:
        return _again(request, pk, form=operation.value, error=error, status=409)
    messages.info(request, f"{run} is requested: {operation.value} to {run.requested}.")
    return pages.to_run(run.number)


def _again(request: HttpRequest, pk: int, *, form: str, error: PortalError, status: int) -> HttpResponse:
    """The page with the sentence at the form, and nothing of what was typed lost."""
    typed = {name: request.POST.get(name, "") for name in FIELDS}
    field = error.field or "" if isinstance(error, Invalid) else ""
    return _page(request, pk, typed=typed | {"form": form, "error": error.message, "field": field}, status=status)


def _page(request: HttpRequest, pk: int, *, typed: Mapping[str, str], status: int = 200) -> HttpResponse:
    actor, now = actor_of(request), database_now()
    target = access.get_target_for(actor, pk)
    found = targets.target_page(
        target,
        user_id=actor.user_id,
        now=now,
        runs_page=request.GET.get("runs", "1"),
        observations_page=request.GET.get("observations", "1"),
        rolls_back=pages.number(typed.get("rolls_back", "")),
    )
    context = {
        "title": target.label,
        "target": target,
        "page": found,
        "now": now,
        "typed": typed,
        "accepted": requests.ACCEPTED,
    }
    return pages.show(request, "migrations_audit/target.html", context, status=status)
