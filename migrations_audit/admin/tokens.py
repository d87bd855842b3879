"""API tokens: one's own. The secret is on the answer to the form that made it, and nowhere else."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from migrations_audit.access import actor_of
from migrations_audit.actions import tokens
from migrations_audit.admin.base import at
from migrations_audit.admin.registry import RefusableAdmin, RefusableForm
from migrations_audit.errors import PortalError
from migrations_audit.models import ApiToken


class ByState(admin.SimpleListFilter):
    """Whether a token is still accepted."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("accepted", "accepted"), ("expired", "expired"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        match self.value():
            case "accepted":
                return queryset.filter(revoked_at=None, expires_at__gt=Now(), owner__is_active=True)
            case "expired":
                return queryset.filter(revoked_at=None, expires_at__lte=Now())
            case "revoked":
                return queryset.filter(revoked_at__isnull=False)
        return queryset


class TokenForm(RefusableForm):
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in tokens.SCOPES],
        widget=forms.CheckboxSelectMultiple,
        help_text="What the token may do in your name, where your roles allow it. No token can approve.",
    )
    days = forms.IntegerField(
        label="Lifetime in days",
        initial=90,
        min_value=1,
        max_value=tokens.LONGEST_DAYS,
        help_text="Afterwards it is refused. It is refused at once when your account is switched off.",
    )

    class Meta:
        model = ApiToken
        fields = ["name"]
        help_texts = {
            "name": "What uses it, like “deploy of market”. The audit shows your name and the token's prefix."
        }


@method_decorator(never_cache, name="changeform_view")
@admin.register(ApiToken)
class TokenAdmin(RefusableAdmin):
    form = TokenForm
    change_form_template = "admin/migrations_audit/apitoken/change_form.html"
    list_display = ["name", "prefix", "owner", "scope_list", "created", "expires", "last_used", "revoked"]
    list_filter = [ByState]
    list_select_related = ["owner"]
    search_fields = ["name", "prefix", "owner__username"]
    hidden_fields = ("digest",)
    shown = ["name", "prefix", "owner", "scope_list", "created", "expires", "last_used", "revoked"]

    def sees(self, request: HttpRequest) -> bool:
        return request.user.is_active

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        own = ApiToken.objects.all() if request.user.is_superuser else ApiToken.objects.filter(owner=request.user.pk)
        return own.select_related("owner")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.sees(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["name", "scopes", "days"] if obj is None else self.shown

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [] if obj is None else self.shown

    def get_urls(self) -> list[URLPattern]:
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<path:object_id>/revoke/", revoke, name="migrations_audit_apitoken_revoke"), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: ApiToken, form: TokenForm, change: bool) -> None:
        chosen = form.cleaned_data
        made = tokens.create(actor=actor_of(request), name=chosen["name"], scopes=chosen["scopes"], days=chosen["days"])
        obj.pk, obj.prefix = made.token.pk, made.token.prefix
        request.new_token = made  # type: ignore[attr-defined]  # for the answer to this request, and for nothing later

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        made: tokens.NewToken = request.new_token  # type: ignore[attr-defined]
        context = {
            **self.admin_site.each_context(request),
            "title": f"The new token {made.token}",
            "opts": self.opts,
            "token": made.token,
            "secret": made.secret,
        }
        return TemplateResponse(request, "admin/migrations_audit/apitoken/secret.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        token = self.get_object(request, unquote(object_id))
        can_revoke = token is not None and token.revoked_at is None
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "can_revoke": can_revoke})

    @method_decorator(csrf_protect)
    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Revoke a token: a POST, answered by the list."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not object_id.isdecimal():
            raise PermissionDenied
        try:
            token = tokens.revoke(actor=actor_of(request), token_id=int(object_id))
        except PortalError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            self.message_user(request, f"{token} is revoked. Whatever still uses it is refused from now on.")
        return HttpResponseRedirect(reverse("admin:migrations_audit_apitoken_changelist"))

    @admin.display(description="scopes")
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description="made at", ordering="created_at")
    def created(self, token: ApiToken) -> str:
        return at(token.created_at)

    @admin.display(description="expires at", ordering="expires_at")
    def expires(self, token: ApiToken) -> str:
        return at(token.expires_at)

    @admin.display(description="last used at")
    def last_used(self, token: ApiToken) -> str:
        return at(token.last_used_at) if token.last_used_at else "never"

    @admin.display(description="revoked at")
    def revoked(self, token: ApiToken) -> str:
        return at(token.revoked_at)
