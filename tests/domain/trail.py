"""Reading the audit chain in tests."""

from __future__ import annotations

from migrations_audit import hashchain
from migrations_audit.models import AuditEvent, MigrationRun


def last(action: str) -> AuditEvent:
    """The newest event of this action."""
    event = AuditEvent.objects.filter(action=action).order_by("-seq").first()
    assert event is not None, f"There is no event {action}."
    return event


def of_run(run: MigrationRun) -> list[str]:
    """The actions recorded about a run, in their order."""
    events = AuditEvent.objects.filter(object_kind="run", object_id=str(run.number))
    return list(events.order_by("seq").values_list("action", flat=True))


def head() -> int:
    """The number of the newest event, 0 for an empty chain."""
    return AuditEvent.objects.order_by("-seq").values_list("seq", flat=True).first() or 0


def denied(*, verb: str, code: str) -> AuditEvent:
    """The newest event, which must tell of this denial."""
    event = AuditEvent.objects.get(seq=head())
    facts = event.facts["facts"]
    assert (event.action, facts["verb"], facts["code"]) == ("access.denied", verb, code)
    return event


def verify() -> hashchain.Verification:
    """The verifier's answer on the whole chain."""
    return hashchain.verify(event.as_link() for event in AuditEvent.objects.order_by("seq"))
