"""The freeze of the whole portal: what is in force, what was, and the form for those who may."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from migrations_audit.access import actor_of
from migrations_audit.actions import freezes
from migrations_audit.errors import Invalid
from migrations_audit.models import Freeze
from migrations_audit.models.clock import database_now
from migrations_audit.web import pages, times

SHOWN = 20


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    return _page(request)


@require_POST
def freeze(request: HttpRequest) -> HttpResponse:
    typed = request.POST.get("until", "").strip()
    try:
        until = times.parse(typed, field="until") if typed else None
        made = freezes.freeze(actor=actor_of(request), reason=request.POST.get("reason", ""), until=until)
    except Invalid as error:
        return _again(request, form="freeze", error=error)
    messages.warning(request, f"{made.sentence} What runs already runs on.")
    return pages.SeeOther(reverse("web:freeze"))


@require_POST
def thaw(request: HttpRequest) -> HttpResponse:
    try:
        freezes.thaw(actor=actor_of(request), reason=request.POST.get("reason", ""))
    except Invalid as error:
        return _again(request, form="thaw", error=error)
    messages.info(request, "The portal is thawed. Runs start again where their windows are open.")
    return pages.SeeOther(reverse("web:freeze"))


def _again(request: HttpRequest, *, form: str, error: Invalid) -> HttpResponse:
    names = ("reason", "until")
    typed = {name: request.POST.get(name, "") for name in names}
    typed |= {"form": form, "error": error.message, "field": error.field or ""}
    return _page(request, typed=typed, status=400)


def _page(request: HttpRequest, *, typed: Mapping[str, str] | None = None, status: int = 200) -> HttpResponse:
    now = database_now()
    context = {
        "title": "Freeze",
        "now": now,
        "in_force": Freeze.objects.in_force(now).first(),
        "freezes": Freeze.objects.all()[:SHOWN],
        "may_freeze": freezes.may_freeze(request.user.pk),
        "typed": typed or {},
    }
    return pages.show(request, "migrations_audit/freeze.html", context, status=status)
