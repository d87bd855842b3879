"""The portal's admin site: the portal *is* the Django admin, and its index is the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse

from migrations_audit.models import Approval, Environment, MigrationRun, Project, Target
from migrations_audit.models.clock import database_now
from migrations_audit.queries import dashboard


@dataclass(frozen=True)
class Place:
    """One entry of the navigation."""

    name: str
    url: str
    is_here: bool


class PortalSite(admin.AdminSite):
    """For active staff. What each of them sees follows from memberships, not from being staff."""

    site_header = "Opsportal"
    site_title = "Opsportal"
    index_title = "Dashboard"
    site_url = None
    enable_nav_sidebar = False

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("registry/", self.admin_view(self.registry), name="registry"), *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        return {**context, "places": self._places(request) if context["has_permission"] else []}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard."""
        now = database_now()
        found = dashboard.dashboard(user_id=request.user.pk, now=now)
        return super().index(request, {"dashboard": found, "now": now, **(extra_context or {})})

    def registry(self, request: HttpRequest) -> HttpResponse:
        """Every list that the admin knows and this person may open."""
        context = {**self.each_context(request), "title": "Registry", "app_list": self.get_app_list(request)}
        return TemplateResponse(request, "admin/registry.html", context)

    def _places(self, request: HttpRequest) -> list[Place]:
        named = [("Dashboard", reverse("admin:index"))]
        lists: tuple[tuple[str, type[Model]], ...] = (
            ("Runs", MigrationRun),
            ("Targets", Target),
            ("Environments", Environment),
            ("Projects", Project),
            ("Approvals", Approval),
        )
        for name, model in lists:
            if model in self._registry and self._registry[model].has_view_permission(request):
                named.append((name, reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")))
        named += [("Audit", reverse("web:audit")), ("Registry", reverse("admin:registry"))]
        also = {"Runs": "/runs/", "Targets": "/targets/"}
        return [
            Place(name, url, self._is_here(request.path, url) or request.path.startswith(also.get(name, "\n")))
            for name, url in named
        ]

    def _is_here(self, path: str, url: str) -> bool:
        return path == url or (url != reverse("admin:index") and path.startswith(url))
