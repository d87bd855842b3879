"""What every list and form of the portal's admin has in common: who sees it, no bulk actions, refused attempts on record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from migrations_audit.access import actor_of
from migrations_audit.actions import audit
from migrations_audit.errors import Denied
from migrations_audit.models import Role
from migrations_audit.queries import rights
from migrations_audit.queries.rights import Rights

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline


def rights_for(request: HttpRequest) -> Mapping[int, Rights]:
    """The person's rights by environment id, read once per request."""
    held: Mapping[int, Rights] | None = getattr(request, "portal_rights", None)
    if held is None:
        held = rights.rights_of(request.user.pk)
        request.portal_rights = held  # type: ignore[attr-defined]  # the request is where it may live that long
    return held


def environments_as(request: HttpRequest, *roles: Role) -> frozenset[int]:
    """The ids of the environments in which the person holds one of ``roles``."""
    return frozenset(pk for pk, held in rights_for(request).items() if any(held.holds(role) for role in roles))


def link(view: str, text: object, **arguments: Any) -> SafeString:
    """An escaped link to one of the portal's own pages."""
    return format_html('<a href="{}">{}</a>', reverse(view, kwargs=arguments), text)


def pretty(value: Any) -> SafeString:
    """JSON for people."""
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def at(moment: Any) -> str:
    """A moment to the second, in UTC; a dash for none."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "–"


class PortalAdmin(ModelAdmin):
    """One list and its form. Staff see it when they hold any role; its queryset says which rows."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    hidden_fields: tuple[str, ...] = ()
    """Fields that nobody may filter by from the address line: that would tell them letter by letter."""

    def sees(self, request: HttpRequest) -> bool:
        """Whether the person may see this list at all."""
        return bool(request.user.is_active and (request.user.is_superuser or rights_for(request)))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not self.sees(request):
            return False
        return obj is None or self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.sees(request)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup.split("__")[0] not in self.hidden_fields and super().lookup_allowed(lookup, value, request)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        with self.denials_recorded(request, "change" if object_id else "add"):
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with self.denials_recorded(request, "delete"):
            return super().delete_view(request, object_id, extra_context)

    @contextmanager
    def denials_recorded(self, request: HttpRequest, verb: str) -> Iterator[None]:
        """Leave an event when the admin itself refuses a POST: it never reaches an action that would."""
        try:
            yield
        except PermissionDenied:
            if request.method == "POST":
                error = Denied(f"The admin refused to {verb} a {self.opts.verbose_name}.")
                audit.record_denial(actor=actor_of(request), verb=f"admin.{self.opts.model_name}.{verb}", error=error)
            raise

    def message_user(
        self,
        request: HttpRequest,
        message: Any,
        level: int | str = messages.INFO,
        extra_tags: str = "",
        fail_silently: bool = False,
    ) -> None:
        # Django's own sentences say that something went "successfully"; the portal says what happened.
        plain = str(message).replace(" successfully", "")
        shown = mark_safe(plain) if isinstance(message, SafeString) else plain  # noqa: S308  (as safe as it was)
        super().message_user(request, shown, level, extra_tags, fail_silently)


class RecordAdmin(PortalAdmin):
    """A record: read-only for everybody, superusers included."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LookingInline(TabularInline):
    """Rows of another list on an entry's page, to look at. They are changed in their own list."""

    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
