"""The portal's admin site: the portal *is* the Django admin, and its index is the dashboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables

from migrations_audit import access
from migrations_audit.actions import people, sign_ins
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.models import Approval, Environment, Freeze, MigrationRun, Project, Target
from migrations_audit.models.clock import database_now
from migrations_audit.queries import audit, dashboard


@dataclass(frozen=True)
class Place:
    """One entry of the navigation."""

    name: str
    url: str
    is_here: bool


class OwnPassword(PasswordChangeView):
    """Django's page; the change itself is the portal's action."""

    form_class = AdminPasswordChangeForm

    def form_valid(self, form: Any) -> HttpResponse:
        chosen = form.cleaned_data["new_password1"]
        user = people.set_password(actor=access.actor_of(self.request), user_id=form.user.pk, password=chosen)
        update_session_auth_hash(self.request, user)
        return HttpResponseRedirect(self.get_success_url())


class SignInForm(AdminAuthenticationForm):
    """Django's form, asked only as often as ``actions.sign_ins`` allows. One sentence for whatever was wrong."""

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": "You are not signed in: user name and password do not belong together, or the account may not use "
        "the portal. Capital letters count. Try again, or ask an administrator.",
    }
    retry_after_s = 0

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username")
        address = str(self.request.META.get("REMOTE_ADDR", "")) if self.request else ""
        if not username or not self.cleaned_data.get("password"):
            return dict(self.cleaned_data)
        try:
            sign_ins.begin(username=username, address=address)
        except sign_ins.SignInThrottled as error:
            self.retry_after_s = error.seconds
            raise ValidationError(error.message, code=error.code) from None
        try:
            cleaned = super().clean()
        except ValidationError:
            sign_ins.failed(username=username, address=address)
            raise
        user = self.get_user()
        sign_ins.succeeded(actor=Actor(kind=ActorKind.USER, name=user.get_username(), user_id=user.pk, address=address))
        return dict(cleaned or {})


class PortalSite(admin.AdminSite):
    """For active staff. What each of them sees follows from memberships, not from being staff."""

    site_header = "Opsportal"
    site_title = "Opsportal"
    index_title = "Dashboard"
    site_url = None
    enable_nav_sidebar = False
    login_form = SignInForm

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("registry/", self.admin_view(self.registry), name="registry"), *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        if not context["has_permission"]:
            return {**context, "places": []}
        return {**context, "places": self._places(request), "freeze": Freeze.objects.in_force_now().first()}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard."""
        now = database_now()
        found = dashboard.dashboard(user_id=request.user.pk, now=now)
        return super().index(request, {"dashboard": found, "now": now, **(extra_context or {})})

    @method_decorator(never_cache)
    @login_not_required
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's page; too many attempts are answered with 429 and the time to wait."""
        response: HttpResponse = super().login(request, extra_context)
        form = (getattr(response, "context_data", None) or {}).get("form")
        if isinstance(form, SignInForm) and form.is_bound and form.retry_after_s:
            response.status_code = 429
            response["Retry-After"] = str(form.retry_after_s)
        return response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """One's own password, set by the same action as anyone's, so that the audit has it."""
        context = {**self.each_context(request), **(extra_context or {})}
        view = OwnPassword.as_view(success_url=reverse("admin:password_change_done"), extra_context=context)
        return view(request)

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
        if audit.may_read(request.user.pk):
            named.append(("Audit", reverse("web:audit")))
        named += [("Freeze", reverse("web:freeze")), ("Registry", reverse("admin:registry"))]
        also = {"Runs": "/runs/", "Targets": "/targets/"}
        return [
            Place(name, url, self._is_here(request.path, url) or request.path.startswith(also.get(name, "\n")))
            for name, url in named
        ]

    def _is_here(self, path: str, url: str) -> bool:
        return path == url or (url != reverse("admin:index") and path.startswith(url))
