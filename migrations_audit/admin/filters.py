"""List filters that offer only what the person may see, and that look at no big table to find out what to offer."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest

from migrations_audit.models import Environment, Project, Target

PURPOSES = ("check", "plan", "preflight", "verify", "reconcile")
SUBJECTS = (
    "run",
    "target",
    "environment",
    "membership",
    "project",
    "finding",
    "snapshot",
    "user",
    "group",
    "token",
    "access",
    "audit",
    "policy",
    "portal",
    "window",
)


class _ByKey(admin.SimpleListFilter):
    """By a row of a small table; ``path`` leads to it from the list's model."""

    path = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if not value:
            return queryset
        return queryset.filter(**{self.path: int(value)}) if value.isdecimal() and len(value) < 19 else queryset.none()


class BrokenGlass(admin.SimpleListFilter):
    """Runs that were started without approval, and all others."""

    title = "started without approval"
    parameter_name = "without_approval"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("open", "Yes, and not reviewed yet"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        broken = queryset.filter(broke_glass_at__isnull=False)
        match self.value():
            case "yes":
                return broken
            case "open":
                return broken.filter(glass_review__isnull=True)
            case "no":
                return queryset.filter(broke_glass_at__isnull=True)
            case _:
                return queryset


def by_environment(path: str) -> type[admin.SimpleListFilter]:
    """A filter by environment, to which ``path`` leads."""

    class ByEnvironment(_ByKey):
        title = "environment"
        parameter_name = "environment"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(str(each.pk), each.name) for each in Environment.objects.visible_to(request.user.pk)]

    ByEnvironment.path = path
    return ByEnvironment


def by_project(path: str) -> type[admin.SimpleListFilter]:
    """A filter by project, to which ``path`` leads."""

    class ByProject(_ByKey):
        title = "project"
        parameter_name = "project"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            visible = Target.objects.visible_to(request.user.pk).filter(project=OuterRef("pk"))
            return [(str(each.pk), each.name) for each in Project.objects.filter(Exists(visible))]

    ByProject.path = path
    return ByProject


class ByPurpose(admin.SimpleListFilter):
    """Why a worker read the target."""

    title = "purpose"
    parameter_name = "purpose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(purpose, purpose) for purpose in PURPOSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(purpose=self.value()) if self.value() else queryset


class BySubject(admin.SimpleListFilter):
    """What an audit event is about: the part of its name before the dot."""

    title = "subject"
    parameter_name = "subject"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(subject, subject) for subject in SUBJECTS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(action__startswith=f"{self.value()}.") if self.value() else queryset


class ByEnvironmentName(admin.SimpleListFilter):
    """Audit events name their environment by its short name, which outlives it."""

    title = "environment"
    parameter_name = "environment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(each.slug, each.name) for each in Environment.objects.visible_to(request.user.pk)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(environment=self.value()) if self.value() else queryset
