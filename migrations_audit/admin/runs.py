"""Runs, the decisions on them, and plans: lists to search. Each run has a page of its own, where its buttons are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from migrations_audit.admin.base import RecordAdmin, at, link, pretty
from migrations_audit.admin.filters import BrokenGlass, by_environment, by_project
from migrations_audit.models import Approval, Environment, MigrationRun, Plan

HEAVY = ("sql", "sql_reason", "body", "steps", "findings", "options", "identity", "parts")


@admin.register(MigrationRun)
class RunAdmin(RecordAdmin):
    list_display = ["run", "target", "span", "operation", "state", "verdict", "glass", "asked_by", "asked_at"]
    list_display_links = None
    list_filter = [
        "state",
        "verdict",
        by_environment("target__environment"),
        by_project("target__project"),
        "operation",
        BrokenGlass,
    ]
    search_fields = [
        "=number",
        "requester_name",
        "reason",
        "ticket",
        "sentence",
        "target__slug",
        "target__project__slug",
        "target__environment__slug",
    ]
    search_help_text = "A run's number, a requester, a target, or words from the reason, the ticket or what happened."
    date_hierarchy = "requested_at"
    ordering = ["-number"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[MigrationRun]:
        runs = MigrationRun.objects.visible_to(request.user.pk).select_related(
            "target__project", "target__environment", "plan"
        )
        return runs.defer(*(f"plan__{name}" for name in HEAVY))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A run is looked at on its own page. Anything but looking is refused as on every record."""
        if request.method in ("GET", "HEAD") and object_id.isdecimal():
            return HttpResponseRedirect(reverse("web:run", kwargs={"number": int(object_id)}))
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.display(description="run", ordering="number")
    def run(self, run: MigrationRun) -> SafeString:
        return link("web:run", f"Run {run.number}", number=run.number)

    @admin.display(description="from → to")
    def span(self, run: MigrationRun) -> str:
        return run.plan.span if run.plan is not None else f"asked for {run.requested}"

    @admin.display(description="approved", ordering="broke_glass_at")
    def glass(self, run: MigrationRun) -> str | SafeString:
        if run.broke_glass_at is None:
            return at(run.approved_at)
        return format_html('<strong class="glass-word">without approval, by {}</strong>', run.broke_glass_by_name)

    @admin.display(description="requester", ordering="requester_name")
    def asked_by(self, run: MigrationRun) -> str:
        return run.requester_name

    @admin.display(description="requested at", ordering="requested_at")
    def asked_at(self, run: MigrationRun) -> str:
        return at(run.requested_at)


@admin.register(Approval)
class ApprovalAdmin(RecordAdmin):
    list_display = ["decided", "person_name", "decision", "as_roles", "of_run", "withdrawn"]
    list_filter = ["decision", by_environment("run__target__environment")]
    search_fields = ["person_name", "comment", "plan_digest", "run__target__project__slug"]
    date_hierarchy = "at"
    ordering = ["-at"]
    fields = ["of_run", "person_name", "decision", "as_roles", "comment", "plan_digest", "decided", "withdrawn"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        visible = Environment.objects.visible_to(request.user.pk)
        approvals = Approval.objects.filter(run__target__environment__in=visible)
        return approvals.select_related("run__target__project", "run__target__environment")

    @admin.display(description="decided at", ordering="at")
    def decided(self, approval: Approval) -> str:
        return at(approval.at)

    @admin.display(description="as")
    def as_roles(self, approval: Approval) -> str:
        return ", ".join(approval.roles) or "no role that the policy names"

    @admin.display(description="run")
    def of_run(self, approval: Approval) -> SafeString:
        return link("web:run", approval.run, number=approval.run_id)

    @admin.display(description="taken back at")
    def withdrawn(self, approval: Approval) -> str:
        return at(approval.withdrawn_at)


@admin.register(Plan)
class PlanAdmin(RecordAdmin):
    list_display = ["planned", "target", "span", "operation", "short_digest"]
    list_filter = [
        "operation",
        by_environment("target__environment"),
        by_project("target__project"),
    ]
    search_fields = ["digest", "requested", "target__slug", "target__project__slug"]
    date_hierarchy = "at"
    ordering = ["-at"]
    fields = ["target", "operation", "span", "of_runs", "planned", "digest", "steps_shown", "sql_shown", "findings_shown",
              "parts_shown"]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        plans = Plan.objects.filter(target__environment__in=Environment.objects.visible_to(request.user.pk))
        return plans.select_related("target__project", "target__environment").defer(*HEAVY)

    @admin.display(description="planned at", ordering="at")
    def planned(self, plan: Plan) -> str:
        return at(plan.at)

    @admin.display(description="from → to")
    def span(self, plan: Plan) -> str:
        return plan.span

    @admin.display(description="digest")
    def short_digest(self, plan: Plan) -> str:
        return plan.digest[:12]

    @admin.display(description="runs")
    def of_runs(self, plan: Plan) -> SafeString:
        links = [
            link("web:run", f"Run {number}", number=number) for number in plan.runs.values_list("number", flat=True)
        ]
        return SafeString(", ".join(links) or "–")

    @admin.display(description="steps")
    def steps_shown(self, plan: Plan) -> SafeString:
        return pretty(plan.steps)

    @admin.display(description="SQL")
    def sql_shown(self, plan: Plan) -> SafeString:
        return format_html("<pre>{}</pre>", plan.sql or plan.sql_reason)

    @admin.display(description="findings")
    def findings_shown(self, plan: Plan) -> SafeString:
        return pretty(plan.findings)

    @admin.display(description="what an approval binds")
    def parts_shown(self, plan: Plan) -> SafeString:
        return pretty(plan.parts)
