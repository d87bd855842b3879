"""What people do on the run page. Each is one POST, one call, and the way back to the page."""

from __future__ import annotations

import functools
from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST

from migrations_audit.access import actor_of
from migrations_audit.actions import approvals, leftovers, rehearsals, runbooks
from migrations_audit.actions import runs as run_actions
from migrations_audit.errors import Invalid
from migrations_audit.models import Approval
from migrations_audit.web import pages
from migrations_audit.web.views import runs


@require_POST
def approve(request: HttpRequest, number: int) -> HttpResponse:
    said = "You approved {0.run}. Your approval binds plan {0.plan_digest:.12}."
    verb = functools.partial(approvals.approve, seen_rehearsal=pages.number(request.POST.get("rehearsal", "")))
    return _decide(request, number, verb, form="approve", said=said)


@require_POST
def reject(request: HttpRequest, number: int) -> HttpResponse:
    return _decide(
        request, number, approvals.reject, form="reject", said="You rejected {0.run}. Nothing of it was run."
    )


@require_POST
def request_changes(request: HttpRequest, number: int) -> HttpResponse:
    said = "You asked for changes of {0.run}. Nobody approves it until you take that back."
    return _decide(request, number, approvals.request_changes, form="reject", said=said)


def _decide(request: HttpRequest, number: int, verb: Callable[..., Approval], *, form: str, said: str) -> HttpResponse:
    """``said`` is the message after it; the decision is its ``{0}``."""
    try:
        decision = verb(actor=actor_of(request), number=number, digest=_digest(request), comment=_comment(request))
    except Invalid as error:
        return runs.page_again(request, number, form=form, error=error)
    messages.info(request, said.format(decision))
    return pages.to_run(number)


@require_POST
def take_back(request: HttpRequest, number: int) -> HttpResponse:
    decision = approvals.take_back(actor=actor_of(request), number=number)
    what = "approval of" if decision.decision == "approve" else "wish for changes of"
    messages.info(request, f"Your {what} {decision.run} no longer counts.")
    return pages.to_run(number)


@require_POST
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    try:
        run = run_actions.withdraw(actor=actor_of(request), number=number, comment=_comment(request))
    except Invalid as error:
        return runs.page_again(request, number, form="withdraw", error=error)
    messages.info(request, f"{run} is withdrawn. Nothing of it was run.")
    return pages.to_run(number)


@require_POST
def start(request: HttpRequest, number: int) -> HttpResponse:
    typed = request.POST.get("confirm_target", "")
    try:
        run = run_actions.start(actor=actor_of(request), number=number, digest=_digest(request), confirm=typed)
    except Invalid as error:
        return runs.page_again(request, number, form="start", error=error)
    messages.info(request, f"{run} is queued.")
    return pages.to_run(number)


@require_POST
def cancel(request: HttpRequest, number: int) -> HttpResponse:
    run = run_actions.cancel(actor=actor_of(request), number=number)
    if run.is_terminal:
        messages.info(request, f"{run} is cancelled. Nothing of it was run.")
    else:
        messages.info(request, f"{run} was asked to stop. What reached the target is read back and shown here.")
    return pages.to_run(number)


@require_POST
def plan_again(request: HttpRequest, number: int) -> HttpResponse:
    """Ask for what this run asked for. Pressed twice, it leads to the same new run."""
    run = run_actions.request_again(actor=actor_of(request), number=number)
    messages.info(request, f"{run} asks for the same as run {number}: {run.operation} to {run.requested}.")
    return pages.to_run(run.number)


@require_POST
def verify_again(request: HttpRequest, number: int) -> HttpResponse:
    run = run_actions.verify_again(actor=actor_of(request), number=number)
    messages.info(request, f"A worker was asked to read {run.target} now.")
    return pages.to_run(number)


@require_POST
def close_unknown(request: HttpRequest, number: int) -> HttpResponse:
    try:
        run = run_actions.close_unknown(actor=actor_of(request), number=number, reason=_comment(request))
    except Invalid as error:
        return runs.page_again(request, number, form="close", error=error)
    messages.info(request, f"{run} is closed. Its outcome stays unknown; {run.target} can be planned for again.")
    return pages.to_run(number)


@require_POST
def accept_leftovers(request: HttpRequest, number: int) -> HttpResponse:
    try:
        run = leftovers.accept(actor=actor_of(request), number=number, reason=_comment(request))
    except Invalid as error:
        return runs.page_again(request, number, form="accept", error=error)
    messages.info(request, f"What {run} left is accepted as it is. {run.target} can be planned for again.")
    return pages.to_run(number)


@require_POST
def rehearse(request: HttpRequest, number: int) -> HttpResponse:
    rehearsal = rehearsals.ask(actor=actor_of(request), number=number)
    messages.info(
        request, f"A worker was asked to rehearse the plan of {rehearsal.run} on a copy of {rehearsal.run.target}."
    )
    return pages.to_run(number)


@require_POST
def write_runbook(request: HttpRequest, number: int) -> HttpResponse:
    try:
        run = runbooks.write(actor=actor_of(request), number=number, text=request.POST.get("runbook", ""))
    except Invalid as error:
        return runs.page_again(request, number, form="runbook", error=error)
    messages.info(request, f"The runbook of {run} is written down.")
    return pages.to_run(number)


def _digest(request: HttpRequest) -> str:
    """The plan that the person saw."""
    return request.POST.get("digest", "")


def _comment(request: HttpRequest) -> str:
    return request.POST.get("comment", "")
