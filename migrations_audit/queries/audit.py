"""Searching the audit chain, within what one person may read. The page and the export ask the same question."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef, Q

from migrations_audit import exports
from migrations_audit.actors import Actor
from migrations_audit.models import AuditEvent, Environment, Membership, Role

PAGE = 50
GIST = ("sentence", "comment", "reason", "phase", "code")


@dataclass(frozen=True)
class Found:
    """One event with its body as text. ``gist`` is what a person wrote or was told; ``run`` and ``target`` name the page of
    what it is about."""

    event: AuditEvent
    actor: str
    address: str
    gist: str
    facts: Sequence[tuple[str, str]]
    run: int | None
    target: int | None


@dataclass(frozen=True)
class AuditPage:
    """Newest first. ``older_than`` and ``newer_than`` are sequence numbers to go on from; None where there is no more."""

    found: Sequence[Found]
    older_than: int | None
    newer_than: int | None
    head: AuditEvent | None


def audit_page(
    actor: Actor, filters: exports.Filters, *, before: int | None = None, after: int | None = None
) -> AuditPage:
    """One page of matching events: the newest, those ``before`` a sequence number, or those ``after`` one.

    Raises NotAnAuditor, and Invalid for an impossible filter.
    """
    events = exports.readable_events(actor).filter(filters.condition())
    if after is not None:
        found = list(events.filter(seq__gt=after).order_by("seq")[: PAGE + 1])
        page, has_newer, has_older = found[:PAGE][::-1], len(found) > PAGE, True
    else:
        older = events if before is None else events.filter(seq__lt=before)
        found = list(older.order_by("-seq")[: PAGE + 1])
        page, has_newer, has_older = found[:PAGE], before is not None, len(found) > PAGE
    return AuditPage(
        found=[_found(event) for event in page],
        older_than=page[-1].seq if page and has_older else None,
        newer_than=page[0].seq if page and has_newer else None,
        head=_head(),
    )


def unsearched(actor: Actor) -> AuditPage:
    """The page of a search that could not be made: where the chain ends, and no events. Raises NotAnAuditor."""
    exports.readable_events(actor)
    return AuditPage(found=(), older_than=None, newer_than=None, head=_head())


def may_read(user_id: int | None) -> bool:
    """Whether this person may read the audit of any environment."""
    audits = Membership.objects.filter(role__in=(Role.AUDITOR, Role.ADMINISTRATOR), group__user=OuterRef("pk"))
    person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True)
    return person.filter(Q(is_superuser=True) | Exists(audits)).exists()


def _head() -> AuditEvent | None:
    return AuditEvent.objects.order_by("-seq").first()


def environments_for(actor: Actor) -> list[Environment]:
    """The environments to choose from: those that the person sees."""
    return list(Environment.objects.visible_to(actor.user_id))


def facts_of(event: AuditEvent) -> list[tuple[str, str]]:
    """What the event tells beside who, when and on what: name and text of each fact that is not empty."""
    facts = event.facts.get("facts", {})
    return [(name.replace("_", " "), _text(value)) for name, value in facts.items() if value not in ("", None, [], {})]


def _found(event: AuditEvent) -> Found:
    who: Mapping[str, Any] = event.facts["actor"]
    facts: Mapping[str, Any] = event.facts["facts"]
    number = int(event.object_id) if event.object_id.isascii() and event.object_id.isdecimal() else None
    return Found(
        event=event,
        actor=f"{who['name']} ({who['kind']})",
        address=who["address"],
        gist=next((_text(facts[name]) for name in GIST if facts.get(name)), ""),
        facts=facts_of(event),
        run=number if event.object_kind == "run" else None,
        target=number if event.object_kind == "target" else None,
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
