"""The run page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from migrations_audit import access
from migrations_audit.access import actor_of
from migrations_audit.errors import Invalid, PortalError
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.queries import eligibility, live, runs, sources
from migrations_audit.web import pages

TYPED = ("comment", "confirm_target", "why_now", "why_not_approved", "at", "runbook")
"""What of a form is shown again. Never a password."""
REGIONS = {"runbook": "rehearsal", "finding": "findings"}
"""In which part of the page a form is, where that is not the decisions."""


@require_safe
def page(request: HttpRequest, number: int) -> HttpResponse:
    """The run, for whoever may see it."""
    return _page(request, access.get_run_for(actor_of(request), number))


def page_again(request: HttpRequest, number: int, *, form: str, error: PortalError) -> HttpResponse:
    """The same page after a form that was not accepted: the sentence at the form, and nothing of what was typed lost."""
    run = access.get_run_for(actor_of(request), number)
    typed = {name: request.POST.get(name, "") for name in TYPED}
    typed |= {"form": form, "error": error.message, "field": (isinstance(error, Invalid) and error.field) or ""}
    typed["region"] = REGIONS.get(form.partition(" ")[0], "decide")
    return _page(request, run, typed=typed, status=400)


def context_of(request: HttpRequest, run: MigrationRun) -> dict[str, Any]:
    """What the page and its live fragment share."""
    now = database_now()
    return {
        "title": runs.title_of(run),
        "now": now,
        "run": run,
        "target": run.target,
        "page": runs.run_page(run, user_id=actor_of(request).user_id, now=now),
        "is_rollback": run.operation == "rollback",
        "is_production": eligibility.is_production(run),
        "reloads": runs.is_at_work(run),
    }


def _page(
    request: HttpRequest, run: MigrationRun, *, typed: Mapping[str, str] | None = None, status: int = 200
) -> HttpResponse:
    tail = runs.log_tail(run)
    # Read before the page itself: what changes in between is then told as a change.
    state = live.glance_at(run, after=tail.last_seq, is_long=False).state
    shared = context_of(request, run)
    context = {
        **shared,
        "typed": typed or {},
        "state": json.dumps({**state, "is_long": shared["page"].is_long}),
        "sources": sources.plan_sources(run.plan) if run.plan is not None else [],
        "tail": tail,
    }
    return pages.show(request, "migrations_audit/run.html", context, status=status)
