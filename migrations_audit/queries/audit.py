"""Searching the audit chain, within what one person may see."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from migrations_audit import access
from migrations_audit.actors import Actor
from migrations_audit.models import AuditEvent, Environment, Role
from migrations_audit.queries import rights

PAGE = 50
READERS = (Role.AUDITOR, Role.ADMINISTRATOR)


@dataclass(frozen=True)
class Search:
    """What to look for. An empty field is no condition; ``since`` is included, ``until`` is not.

    ``action`` and ``target`` match from their beginning: ``run.`` finds every event of runs.
    """

    actor: str = ""
    action: str = ""
    environment: str = ""
    target: str = ""
    run: int | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Found:
    """One event with its body as text."""

    event: AuditEvent
    actor: str
    address: str
    facts: Sequence[tuple[str, str]]
    run: int | None
    target: int | None


@dataclass(frozen=True)
class AuditPage:
    """Newest first. ``older_than`` and ``newer_than`` are the sequence numbers to go on from; None where there is nothing more."""

    found: Sequence[Found]
    older_than: int | None
    newer_than: int | None
    head: AuditEvent | None


def readable_environments(actor: Actor) -> list[Environment]:
    """The environments whose events this person may read, in their order. Raises MissingRole when there are none."""
    held = rights.rights_of(actor.user_id)
    found = [
        environment
        for environment in Environment.objects.filter(pk__in=list(held))
        if any(held[environment.pk].holds(role) for role in READERS)
    ]
    if not found and not access.is_superuser(actor):
        raise access.MissingRole(
            f"{actor.name} is neither auditor nor administrator of an environment. An administrator can add the membership."
        )
    return found


def events_for(actor: Actor, search: Search) -> QuerySet[AuditEvent]:
    """The events that this person may read and that match. A superuser also reads those that belong to no environment."""
    events = AuditEvent.objects.all()
    if not access.is_superuser(actor):
        events = events.filter(environment__in=[each.slug for each in readable_environments(actor)])
    conditions = {
        "environment": search.environment,
        "actor": search.actor,
        "action__startswith": search.action,
        "target__startswith": search.target,
    }
    events = events.filter(**{name: value for name, value in conditions.items() if value})
    if search.run is not None:
        events = events.filter(object_kind="run", object_id=str(search.run))
    if search.since is not None:
        events = events.filter(at__gte=search.since)
    if search.until is not None:
        events = events.filter(at__lt=search.until)
    return events


def audit_page(actor: Actor, search: Search, *, before: int | None = None, after: int | None = None) -> AuditPage:
    """One page of matching events: the newest, those ``before`` a sequence number, or those ``after`` one."""
    events = events_for(actor, search)
    if after is not None:
        page = list(events.filter(seq__gt=after).order_by("seq")[: PAGE + 1])
        more_newer, more_older = len(page) > PAGE, True
        page = page[:PAGE][::-1]
    else:
        older = events if before is None else events.filter(seq__lt=before)
        page = list(older.order_by("-seq")[: PAGE + 1])
        more_newer, more_older = before is not None, len(page) > PAGE
        page = page[:PAGE]
    return AuditPage(
        found=[_found(event) for event in page],
        older_than=page[-1].seq if page and more_older else None,
        newer_than=page[0].seq if page and more_newer else None,
        head=AuditEvent.objects.order_by("-seq").first(),
    )


def facts_of(event: AuditEvent) -> list[tuple[str, str]]:
    """What the event tells beside who, when and on what: name and text of each fact that is not empty."""
    facts = event.facts.get("facts", {})
    return [(name.replace("_", " "), _text(value)) for name, value in facts.items() if value not in ("", None, [], {})]


def _found(event: AuditEvent) -> Found:
    body = event.facts
    who: Mapping[str, Any] = body.get("actor", {})
    number = event.object_id if event.object_id.isdecimal() else ""
    return Found(
        event=event,
        actor=f"{who.get('name', event.actor)} ({who.get('kind', 'unknown')})",
        address=str(who.get("address", "")),
        facts=facts_of(event),
        run=int(number) if number and event.object_kind == "run" else None,
        target=int(number) if number and event.object_kind == "target" else None,
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
