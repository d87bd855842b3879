"""Which findings people accepted, why and until when. They are accepted and taken back on the pages of runs."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from migrations_audit.admin.base import RecordAdmin, at
from migrations_audit.admin.filters import by_project
from migrations_audit.models import FindingAcceptance, Target


@admin.register(FindingAcceptance)
class FindingAcceptanceAdmin(RecordAdmin):
    ordering = ["-id"]
    list_display = ["code", "project", "place", "accepted_by_name", "accepted_at", "until", "ended"]
    list_filter = [by_project("project"), "code"]
    search_fields = ["code", "place", "sentence", "reason", "accepted_by_name"]
    fields = [
        "project",
        "code",
        "place",
        "sentence",
        "reason",
        "accepted_by_name",
        "accepted_at",
        "until",
        "ended",
        "ended_by_name",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[FindingAcceptance]:
        visible = Target.objects.visible_to(request.user.pk).filter(project=OuterRef("project"))
        return FindingAcceptance.objects.filter(Exists(visible)).select_related("project")

    @admin.display(description="accepted at", ordering="at")
    def accepted_at(self, acceptance: FindingAcceptance) -> str:
        return at(acceptance.at)

    @admin.display(description="until", ordering="expires_at")
    def until(self, acceptance: FindingAcceptance) -> str:
        return at(acceptance.expires_at)

    @admin.display(description="ended at", ordering="ended_at")
    def ended(self, acceptance: FindingAcceptance) -> str:
        return at(acceptance.ended_at)
