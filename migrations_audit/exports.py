"""The audit out of the portal: JSON Lines that verify offline, a CSV view of them, and the check of the stored chain.

An export covers the chain from its first to its last matching event without a gap. Bodies that do not match the filter, or
that the person may not read, are withheld: their hashes stay, so that a stranger can still check every link.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet

from migrations_audit import access, hashchain, sheets
from migrations_audit.actions import audit, tokens
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.models import AuditEvent, Environment, Role
from migrations_audit.models.clock import database_now

CHUNK = 1_000
LONGEST_FILTER = 200
CLOCK_SLACK = timedelta(minutes=5)
FORMS: Mapping[str, str] = {"jsonl": "application/jsonl; charset=utf-8", "csv": "text/csv; charset=utf-8"}
CSV_COLUMNS = (
    "seq",
    "at",
    "actor",
    "actor_kind",
    "address",
    "action",
    "object_kind",
    "object_id",
    "environment",
    "target",
    "facts",
    "hash",
)


class NotAnAuditor(access.MissingRole):
    """The audit can be read by auditors and administrators of an environment. An administrator can add the membership."""


@dataclass(frozen=True)
class Filters:
    """Which events match. Empty means any; ``until`` is exclusive.

    ``actor`` also finds what a person's tokens did. ``action`` and ``target`` match from their beginning: ``run.``, ``market/``.
    """

    actor: str = ""
    action: str = ""
    environment: str = ""
    target: str = ""
    run: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def facts(self) -> dict[str, Any]:
        """The filters that are set, for the manifest and the audit."""
        given = {name: value for name, value in asdict(self).items() if value not in ("", None)}
        return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}

    def condition(self) -> Q:
        """The filters as a condition on AuditEvent. Raises Invalid for odd text and for an impossible period."""
        self._check()
        condition = Q()
        if self.actor:
            condition &= Q(actor=self.actor) | Q(actor__startswith=tokens.actor_name(self.actor, prefix=""))
        if self.environment:
            condition &= Q(environment=self.environment)
        for name in ("action", "target"):
            if value := getattr(self, name):
                condition &= Q(**{f"{name}__startswith": value})
        if self.run is not None:
            condition &= Q(object_kind="run", object_id=str(self.run))
        if self.since is not None:
            condition &= Q(at__gte=self.since)
        if self.until is not None:
            condition &= Q(at__lt=self.until)
        return condition

    def _check(self) -> None:
        for name in ("actor", "action", "environment", "target"):
            text = getattr(self, name)
            if len(text) > LONGEST_FILTER or "\x00" in text:
                raise Invalid(f"The filter {name} has at most {LONGEST_FILTER} characters and no NUL.", field=name)
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise Invalid(f"Give {name} with its time zone, like 2026-01-31T00:00:00Z.", field=name)
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise Invalid("The period ends before it begins.", field="until")


@dataclass(frozen=True)
class Export:
    """A download. ``lines`` is read once, in pieces of bounded size; ``manifest`` is what the JSON Lines form begins with."""

    filename: str
    content_type: str
    manifest: Mapping[str, Any]
    lines: Iterator[bytes]


@dataclass(frozen=True)
class _Range:
    first_seq: int | None
    last_seq: int | None
    matched: int
    head: tuple[int, str]

    @property
    def count(self) -> int:
        return 0 if self.first_seq is None or self.last_seq is None else self.last_seq - self.first_seq + 1


def readable_events(actor: Actor) -> QuerySet[AuditEvent]:
    """The events whose bodies this person may read: those of the environments that the person audits or administers.

    Events of no environment (tokens, denials, exports) are for those who audit every environment.
    Raises NotAnAuditor, MissingScope.
    """
    access.need_scope(actor, "export")
    environments = list(Environment.objects.all())
    audited = [
        item.slug
        for item in environments
        if access.roles_in(item, user_id=actor.user_id) & {Role.AUDITOR.value, Role.ADMINISTRATOR.value}
    ]
    if access.is_superuser(actor) or (audited and len(audited) == len(environments)):
        return AuditEvent.objects.all()
    if not audited:
        raise NotAnAuditor
    return AuditEvent.objects.filter(environment__in=audited)


@audit.action
def export(*, actor: Actor, filters: Filters, form: str) -> Export:
    """Begin an export. That it was asked for is in the chain before its first byte, behind the events that it covers.

    Raises NotAnAuditor, MissingScope, and Invalid for an unknown form or an impossible period.
    """
    if form not in FORMS:
        raise Invalid(f"An export is {' or '.join(FORMS)}.", field="form")
    matching = readable_events(actor).filter(filters.condition())
    covered = _range(matching, whole=filters == Filters())
    now = database_now()
    manifest = _manifest(actor, filters, covered, now)
    audit.record(
        actor=actor,
        action="audit.exported",
        object_kind="export",
        object_id=form,
        facts={
            name: manifest[name]
            for name in ("filters", "first_seq", "last_seq", "count", "matched", "withheld", "head", "exported_at")
        },
    )
    lines = _json_lines(manifest, matching, covered) if form == "jsonl" else _csv_lines(matching, covered)
    extent = f"{covered.first_seq}-{covered.last_seq}" if covered.count else "empty"
    return Export(f"audit-{extent}-{now:%Y%m%dT%H%M%SZ}.{form}", FORMS[form], manifest, lines)


def verify_chain(*, now: datetime) -> hashchain.Verification:
    """Check the stored chain from its first event to the last one there is at the beginning of the check.

    Besides the links: that the columns which filters use still repeat the hashed body, and that nothing is dated after ``now``.
    """
    head = AuditEvent.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    faults: list[tuple[int, str]] = []

    def links() -> Iterator[hashchain.Link]:
        for event in _in_chunks(AuditEvent.objects.all(), 0, head):
            yield event.as_link()
            if reason := _column_fault(event, now):
                faults.append((event.seq, reason))
                return

    result = hashchain.verify(links())
    if result.holds and faults:
        seq, reason = faults[0]
        return replace(result, bad_seq=seq, reason=reason)
    return result


def _range(matching: QuerySet[AuditEvent], *, whole: bool) -> _Range:
    """What an export covers, bounded by the head of this moment. Later events do not disturb it.

    Without a filter it is the whole chain, whatever of it the person may read; with one, nothing outside the matches shows.
    """
    head = AuditEvent.objects.order_by("-seq").values_list("seq", "hash").first()
    if head is None:
        return _Range(None, None, 0, (0, hashchain.GENESIS))
    found = matching.filter(seq__lte=head[0]).aggregate(first=Min("seq"), last=Max("seq"), matched=Count("seq"))
    if whole:
        return _Range(1, head[0], found["matched"], head)
    return _Range(found["first"], found["last"], found["matched"], head)


def _manifest(actor: Actor, filters: Filters, covered: _Range, now: datetime) -> dict[str, Any]:
    head = AuditEvent.objects.filter(seq=covered.last_seq or 0).values_list("hash", flat=True).first()
    return {
        "format": hashchain.FORMAT,
        "portal": settings.PORTAL_NAME,
        "exported_at": now.isoformat(timespec="microseconds"),
        "exported_by": actor.name,
        "filters": filters.facts(),
        "first_seq": covered.first_seq,
        "last_seq": covered.last_seq,
        "count": covered.count,
        "matched": covered.matched,
        "withheld": covered.count - covered.matched,
        "head": head,
        "chain": {"last_seq": covered.head[0], "head": covered.head[1]},
        "note": (
            "An event without a body does not match the filters or is not for the exporter; its hashes are there so that the "
            "chain can be checked. chain is where the portal's chain ended when the export began."
        ),
    }


def _in_chunks(events: QuerySet[AuditEvent], after: int, last: int) -> Iterator[AuditEvent]:
    """Events with ``after < seq <= last`` in order. Each chunk is its own query, so no transaction waits for a slow reader."""
    while chunk := list(events.filter(seq__gt=after, seq__lte=last).order_by("seq")[:CHUNK]):
        yield from chunk
        after = chunk[-1].seq


def _json_lines(manifest: Mapping[str, Any], matching: QuerySet[AuditEvent], covered: _Range) -> Iterator[bytes]:
    yield _line(manifest)
    if covered.first_seq is None or covered.last_seq is None:
        return
    after = covered.first_seq - 1
    hashes = AuditEvent.objects.order_by("seq").values_list("seq", "previous_hash", "body_digest", "hash")
    while rows := list(hashes.filter(seq__gt=after, seq__lte=covered.last_seq)[:CHUNK]):
        until = rows[-1][0]
        bodies = dict(matching.filter(seq__gt=after, seq__lte=until).values_list("seq", "body"))
        for seq, previous_hash, body_digest, own_hash in rows:
            event = {"seq": seq, "previous_hash": previous_hash, "body_digest": body_digest, "hash": own_hash}
            yield _line(event | {"body": bodies[seq]} if seq in bodies else event)
        after = until


def _line(value: Mapping[str, Any]) -> bytes:
    """One line of ASCII: whatever a body holds, no terminal, editor or mail program can reorder or re-encode it."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _csv_lines(matching: QuerySet[AuditEvent], covered: _Range) -> Iterator[bytes]:
    yield sheets.row(CSV_COLUMNS)
    for event in _in_chunks(matching, (covered.first_seq or 1) - 1, covered.last_seq or 0):
        body = event.facts
        actor = body["actor"]
        yield sheets.row(
            (
                str(event.seq),
                body["at"],
                actor["name"],
                actor["kind"],
                actor["address"],
                body["action"],
                body["object"]["kind"],
                body["object"]["id"],
                body["environment"],
                body["target"],
                hashchain.canonical(body["facts"]),
                event.hash,
            )
        )


def _column_fault(event: AuditEvent, now: datetime) -> str:
    """What of a stored event's columns does not repeat its body, in words; empty when all do."""
    body = event.facts
    try:
        said = (
            body["at"],
            body["actor"]["name"][:200],
            body["action"],
            body["object"]["kind"],
            body["object"]["id"][:80],
            body["environment"],
            body["target"],
        )
    except (KeyError, TypeError):
        return "its body is not that of an event"
    stored = (
        event.at.isoformat(timespec="microseconds"),
        event.actor,
        event.action,
        event.object_kind,
        event.object_id,
        event.environment,
        event.target,
    )
    if said != stored:
        return "a column that filters use does not repeat its body"
    if event.at > now + CLOCK_SLACK:
        return f"it is dated {event.at:%Y-%m-%d %H:%M:%S} UTC, which is still to come"
    return ""
