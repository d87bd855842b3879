"""The windows of an environment: their list and form, and how the environment's page shows them."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from migrations_audit.access import actor_of
from migrations_audit.actions import proposals
from migrations_audit.admin.base import LookingInline
from migrations_audit.admin.filters import by_environment
from migrations_audit.admin.registry import ProposingAdmin, RefusableForm, RegistryAdmin
from migrations_audit.models import Environment, Window
from migrations_audit.models.clock import database_now
from migrations_audit.queries import openings


class WindowForm(RefusableForm):
    class Meta:
        model = Window
        fields = ["environment", "kind", "cron", "duration_minutes", "time_zone", "description", "overrun"]
        help_texts = {
            "kind": "A window in which runs may not start wins. Where any window says that runs may start, they start only "
            "inside one.",
            "cron": "Minute, hour, day of the month, month, day of the week on the wall clock of the time zone: “0 22 * * 1-5” "
            "is 22:00 from Monday to Friday, “0 6 L * *” 06:00 on the last day of the month.",
            "duration_minutes": "Elapsed time, at most 31 days (44640).",
            "description": "How sentences name it, like “month end”.",
        }


class WindowList(LookingInline):
    """The windows of the environment, to look at. They are changed in their own list."""

    model = Window
    fields = ["kind", "cron", "duration_minutes", "time_zone"]
    template = "admin/migrations_audit/environment/windows.html"


def context_of(environment: Environment) -> dict[str, Any]:
    """What the template of ``WindowList`` says of an environment: open now or not, and each window in words."""
    now = database_now()
    return {
        "opening": openings.of_environment(environment, now=now),
        "window_rows": openings.rows_of(environment.windows.all(), now=now),
    }


@admin.register(Window)
class WindowAdmin(ProposingAdmin, RegistryAdmin):
    form = WindowForm
    list_display = ["name", "environment", "kind", "cron", "time_zone", "duration_minutes", "overrun", "now"]
    list_filter = [by_environment("environment"), "kind"]
    list_select_related = ["environment"]
    search_fields = ["description", "cron", "environment__name"]
    initial_from_link = ("environment",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Window]:
        windows = Window.objects.select_related("environment").annotate(asked_at=Now())
        if self.sees_all(request):
            return windows
        return windows.filter(environment__in=Environment.objects.visible_to(request.user.pk))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["environment"] if obj is not None else []

    def save_model(self, request: HttpRequest, obj: Window, form: WindowForm, change: bool) -> None:
        pk = obj.pk if change else None
        self.adopt_or_say(
            request, obj, proposals.save_window(actor=actor_of(request), window_id=pk, **form.cleaned_data)
        )

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Nothing yet: Django asks before it deletes, and this removal may only be proposed."""

    def delete_model(self, request: HttpRequest, obj: Window) -> None:
        made = proposals.remove_window(actor=actor_of(request), window_id=obj.pk)
        if made is not None:
            self.adopt_or_say(request, obj, made)
        else:
            super().log_deletions(request, cast(Any, [obj]))

    @admin.display(description="window")
    def name(self, window: Window) -> str:
        return window.description or window.cron

    @admin.display(description="now")
    def now(self, window: Any) -> str:
        (row,) = openings.rows_of([window], now=window.asked_at)
        return f"{'open' if row.is_open else 'not open'}, {row.words}"
