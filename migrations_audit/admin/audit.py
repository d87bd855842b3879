"""The audit chain as a list, for auditors, administrators and superusers."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from migrations_audit import exports
from migrations_audit.access import actor_of
from migrations_audit.admin.base import RecordAdmin, at, environments_as, pretty
from migrations_audit.admin.filters import ByEnvironmentName, BySubject
from migrations_audit.models import AuditEvent, Role

LONGEST_NAME = 40  # digests are longer


@admin.register(AuditEvent)
class AuditEventAdmin(RecordAdmin):
    list_display = ["seq", "moment", "actor", "action", "subject", "target", "environment"]
    ordering = ["-seq"]
    list_filter = [BySubject, ByEnvironmentName]
    search_fields = ["actor", "action", "object_id", "target"]
    search_help_text = "Who, what, or on what: a person, an action like run.approved, a run's number, a target."
    date_hierarchy = "at"
    fields = ["seq", "moment", "actor", "action", "object_kind", "object_id", "target", "environment", "facts_shown",
              "previous_hash", "body_digest", "hash"]  # fmt: skip

    def sees(self, request: HttpRequest) -> bool:
        user = request.user
        return bool(
            user.is_active and (user.is_superuser or environments_as(request, Role.AUDITOR, Role.ADMINISTRATOR))
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEvent]:
        if not self.sees(request):
            return AuditEvent.objects.none()
        readable: QuerySet[AuditEvent] | None = getattr(request, "portal_events", None)
        if readable is None:
            readable = exports.readable_events(actor_of(request))
            request.portal_events = readable  # type: ignore[attr-defined]  # asked several times for one page
        return readable.all()

    @admin.display(description="at", ordering="at")
    def moment(self, event: AuditEvent) -> str:
        return at(event.at)

    @admin.display(description="about", ordering="object_id")
    def subject(self, event: AuditEvent) -> str:
        name = event.object_id if len(event.object_id) <= LONGEST_NAME else f"{event.object_id[:12]}…"
        return f"{event.object_kind} {name}"

    @admin.display(description="the event as it was recorded")
    def facts_shown(self, event: AuditEvent) -> SafeString:
        return pretty(event.facts)
