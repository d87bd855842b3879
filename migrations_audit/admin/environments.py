"""Environments with their policy, and who holds which role in them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from migrations_audit.access import actor_of
from migrations_audit.actions import proposals, registry, registry_rights
from migrations_audit.admin.base import LookingInline
from migrations_audit.admin.fields import RequirementsField, requirement_lines
from migrations_audit.admin.filters import by_environment
from migrations_audit.admin.registry import ProposingAdmin, RefusableForm, RegistryAdmin, VersionedForm
from migrations_audit.admin.windows import WindowList, context_of
from migrations_audit.models import Environment, Membership, Window


class EnvironmentForm(VersionedForm):
    requirements = RequirementsField(
        label="Who must approve",
        help_text="One per line: a count and an approver role, like “1 database-administrator” and “1 owner”. All are distinct "
        "people: whoever holds both roles fills one of them. “3 people in all” asks for that many distinct people; "
        "those beyond the "
        "roles may be any approvers. None is the requester, the commit's author, or somebody who edited the target, "
        "the project or "
        "the policy after the request. A role is held through a membership of the role Approver. Production needs one line.",
    )

    class Meta:
        model = Environment
        fields = ["slug", "name", "tier", "position", "queue"]
        labels = {"slug": "Short name"}
        help_texts = {
            "slug": "Lower case, like production. It is part of every target's name and of the audit, so it stays as it is "
            "once something was read or run here.",
            "tier": "Production needs approvals. The tier is bound by every approval.",
        }


class MembershipList(LookingInline):
    """Who holds which role here, to look at. Memberships are changed in their own list."""

    model = Membership
    fields = ["group", "role", "approver_role"]
    template = "admin/migrations_audit/environment/memberships.html"


@admin.register(Environment)
class EnvironmentAdmin(ProposingAdmin, RegistryAdmin):
    form = EnvironmentForm
    inlines = [WindowList, MembershipList]
    list_display = ["name", "slug", "tier", "position", "who_approves", "queue"]
    list_filter = ["tier"]
    search_fields = ["slug", "name", "queue"]
    for_viewers = {"seen_version": None, "requirements": "who_approves"}
    fieldsets = [
        (None, {"fields": ["name", "slug", "tier", "position", "queue", "seen_version"]}),
        (
            "Approval",
            {
                "fields": [
                    "requirements",
                    "requires_verified_in",
                    "approval_lifetime_s",
                    "findings_must_be_accepted",
                ],
                "description": "Any change here makes the approvals void that were given under the old policy. Where production "
                "is in use, a change of who approves, of tier or isolation, and longer limits are proposed: they take effect "
                "when a second administrator confirms them on the dashboard.",
            },
        ),
        (
            "Rehearsal",
            {
                "fields": ["rehearsal", "rehearsal_within_h", "scratch_reference", "rewrite_limit_mb", "lock_limit_ms"],
                "description": "A worker copies the target's schema, without data, and plays the plan there: what it executes, "
                "locks and changes, and whether it can be taken back.",
            },
        ),
        (
            "Reading",
            {
                "fields": ["observe_every_s", "fresh_for_s", "marks_targets"],
                "description": "How often workers read the targets, and from when on an observation counts as stale.",
            },
        ),
        (
            "Isolation",
            {
                "fields": ["isolation"],
                "description": "Migration code is arbitrary Python. A worker on which the demanded isolation does not work "
                "refuses the run. The levels stand from the least to the most.",
            },
        ),
        (
            "Limits of a run",
            {
                "fields": [
                    "lock_timeout_ms",
                    "lock_retry_budget_s",
                    "statement_timeout_ms",
                    "lock_budget_s",
                    "deadline_s",
                ],
                "description": "While a revision waits for a lock, every other session queues up behind it: keep the lock "
                "timeout short. After one, all is rolled back and begun anew within the time given here, where every revision is "
                "transactional.",
            },
        ),
    ]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Environment | None = None,
    ) -> HttpResponse:
        may = registry_rights.holds_permission(request.user, "change", Window)
        shown = {**context, **(context_of(obj) if obj is not None else {}), "may_change_windows": may}
        return super().render_change_form(request, shown, add, change, form_url, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        return Environment.objects.all() if self.sees_all(request) else Environment.objects.visible_to(request.user.pk)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["slug"] if obj is not None and registry.has_history(obj) else []

    def save_model(self, request: HttpRequest, obj: Environment, form: EnvironmentForm, change: bool) -> None:
        pk = obj.pk if change else None
        self.adopt_or_say(
            request, obj, proposals.save_environment(actor=actor_of(request), environment_id=pk, **form.chosen())
        )

    def delete_model(self, request: HttpRequest, obj: Environment) -> None:
        registry.remove_environment(actor=actor_of(request), environment_id=obj.pk)

    @admin.display(description="who must approve")
    def who_approves(self, environment: Environment) -> str:
        return requirement_lines(environment.requirements).replace("\n", ", ") or "nobody: a planned run is approved"


class MembershipForm(RefusableForm):
    class Meta:
        model = Membership
        fields = ["environment", "group", "role", "approver_role"]
        help_texts = {
            "group": "People enter and leave a group on their account's page.",
            "role": "A role gives what its name says and the right to see the environment. Nothing is included in another role: "
            "a person who may request and run needs both.",
            "approver_role": "For the role Approver: the word that the environment's policy uses, like database-administrator.",
        }


@admin.register(Membership)
class MembershipAdmin(ProposingAdmin, RegistryAdmin):
    form = MembershipForm
    list_display = ["group", "environment", "role", "approver_role"]
    list_filter = [by_environment("environment"), "role"]
    list_select_related = ["group", "environment"]
    search_fields = ["group__name", "approver_role", "environment__name"]
    initial_from_link = ("environment", "group")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        memberships = Membership.objects.select_related("environment", "group")
        if self.sees_all(request):
            return memberships
        return memberships.filter(environment__in=Environment.objects.visible_to(request.user.pk))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["environment"] if obj is not None else []

    def save_model(self, request: HttpRequest, obj: Membership, form: MembershipForm, change: bool) -> None:
        pk = obj.pk if change else None
        self.adopt_or_say(
            request, obj, proposals.save_membership(actor=actor_of(request), membership_id=pk, **form.cleaned_data)
        )

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        registry.remove_membership(actor=actor_of(request), membership_id=obj.pk)
