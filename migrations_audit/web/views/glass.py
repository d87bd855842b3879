"""Starting a run without approval, reviewing it afterwards, and having read what one was told. Each is one POST and one call."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from migrations_audit.access import actor_of
from migrations_audit.actions import glass, sign_ins
from migrations_audit.errors import Invalid
from migrations_audit.web import pages
from migrations_audit.web.views import runs


@sensitive_variables("given")
@sensitive_post_parameters("password")
@require_POST
def break_glass(request: HttpRequest, number: int) -> HttpResponse:
    given = {name: request.POST.get(name, "") for name in ("digest", "why_now", "why_not_approved", "password")}
    try:
        run = glass.break_glass(
            actor=actor_of(request), number=number, confirm=request.POST.get("confirm_target", ""), **given
        )
    except (Invalid, sign_ins.SignInThrottled) as error:
        return runs.page_again(request, number, form="glass", error=error)
    messages.warning(request, f"{run} is queued without approval. Everybody who would have approved it is told.")
    return pages.to_run(number)


@require_POST
def review(request: HttpRequest, number: int) -> HttpResponse:
    try:
        signed = glass.review(actor=actor_of(request), number=number, text=request.POST.get("comment", ""))
    except Invalid as error:
        return runs.page_again(request, number, form="review", error=error)
    messages.info(request, f"You signed the review of {signed.run}.")
    return pages.to_run(number)


@require_POST
def acknowledge(request: HttpRequest, notice: int) -> HttpResponse:
    glass.acknowledge(actor=actor_of(request), notice_id=notice)
    return pages.SeeOther(reverse("admin:index"))
