"""The audit page: search and export."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST, require_safe

from migrations_audit import downloads, exports
from migrations_audit.access import actor_of
from migrations_audit.errors import Invalid
from migrations_audit.models.clock import database_now
from migrations_audit.queries import audit
from migrations_audit.web import pages

FIELDS = ("actor", "action", "environment", "target", "run", "since", "until")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Events that match, newest first, a bounded page at a time."""
    actor = actor_of(request)
    asked = _asked(request.GET)
    error = ""
    before, after = _seq(request.GET.get("before", "")), _seq(request.GET.get("after", ""))
    try:
        found = audit.audit_page(actor, _filters(asked), before=before, after=after)
    except Invalid as fault:
        error = fault.message
        found = audit.unsearched(actor)
    query = urlencode({name: value for name, value in asked.items() if value})
    context = {
        "title": "Audit",
        "now": database_now(),
        "page": found,
        "asked": asked,
        "error": error,
        "environments": audit.environments_for(actor),
        "query": f"{query}&" if query else "",
    }
    return pages.show(request, "migrations_audit/audit.html", context, status=400 if error else 200)


@require_POST
def export(request: HttpRequest) -> HttpResponseBase:
    """Export audit: what the search finds, as a download. That it was asked for is an event itself."""
    made = exports.export(
        actor=actor_of(request), filters=_filters(_asked(request.POST)), form=request.POST.get("form", "")
    )
    return downloads.streamed(request, filename=made.filename, content_type=made.content_type, lines=made.lines)


def _asked(given: Mapping[str, str]) -> dict[str, str]:
    return {name: str(given.get(name, "")).strip() for name in FIELDS}


def _filters(asked: Mapping[str, str]) -> exports.Filters:
    """The filters as typed: days in UTC, the last one included. Raises Invalid."""
    until = _day(asked["until"], field="until")
    run = asked["run"]
    if run and _seq(run) is None:
        raise Invalid("A run is named by its number, like 12.", field="run")
    return exports.Filters(
        actor=asked["actor"],
        action=asked["action"],
        environment=asked["environment"],
        target=asked["target"],
        run=_seq(run),
        since=_day(asked["since"], field="since"),
        until=None if until is None else until + timedelta(days=1),
    )


def _day(text: str, *, field: str) -> datetime | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        if day.year >= date.max.year:
            raise ValueError(text)
    except ValueError as error:
        raise Invalid("A day is written like 2026-01-31.", field=field) from error
    return datetime.combine(day, time(tzinfo=UTC))


def _seq(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
