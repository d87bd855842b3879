"""Accepting what was found in a plan, and taking that back. Each is one POST, one call, and the way back to the page."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from migrations_audit.access import actor_of
from migrations_audit.actions import findings
from migrations_audit.errors import Invalid
from migrations_audit.web import pages
from migrations_audit.web.views import runs


@require_POST
def accept(request: HttpRequest, number: int) -> HttpResponse:
    named = request.POST.get("finding", "")
    try:
        acceptance = findings.accept(
            actor=actor_of(request),
            number=number,
            finding=named,
            reason=request.POST.get("comment", ""),
            days=pages.number(request.POST.get("days", "")) or 0,
        )
    except Invalid as error:
        return runs.page_again(request, number, form=f"finding {named}", error=error)
    until = f"{acceptance.expires_at:%Y-%m-%d}"
    messages.info(request, f"You accepted {acceptance.code} for {acceptance.project.slug} until {until}.")
    return pages.to_run(number)


@require_POST
def take_back(request: HttpRequest, number: int) -> HttpResponse:
    acceptance = findings.take_back(
        actor=actor_of(request), number=number, acceptance_id=pages.number(request.POST.get("acceptance", "")) or 0
    )
    messages.info(request, f"The acceptance of {acceptance.code} by {acceptance.accepted_by_name} no longer counts.")
    return pages.to_run(number)
