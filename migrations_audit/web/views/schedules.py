"""Starting a run later, on the run page."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from migrations_audit.access import actor_of
from migrations_audit.actions import schedules
from migrations_audit.errors import Invalid
from migrations_audit.web import pages, times
from migrations_audit.web.views import runs


@require_POST
def schedule(request: HttpRequest, number: int) -> HttpResponse:
    try:
        run = schedules.schedule(
            actor=actor_of(request),
            number=number,
            digest=request.POST.get("digest", ""),
            at=times.parse(request.POST.get("at", ""), field="at"),
            confirm=request.POST.get("confirm_target", ""),
        )
    except Invalid as error:
        return runs.page_again(request, number, form="schedule", error=error)
    messages.info(request, f"{run} is scheduled for {run.scheduled_at:%Y-%m-%d %H:%M} UTC.")
    return pages.to_run(number)


@require_POST
def unschedule(request: HttpRequest, number: int) -> HttpResponse:
    run = schedules.unschedule(actor=actor_of(request), number=number)
    messages.info(request, f"{run} is off its schedule. It stays approved.")
    return pages.to_run(number)
