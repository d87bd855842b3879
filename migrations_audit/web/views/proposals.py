"""Deciding on proposed changes of a policy. Each is one POST, one call, and the way back to the dashboard."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from migrations_audit.access import actor_of
from migrations_audit.actions import proposals
from migrations_audit.errors import Invalid
from migrations_audit.models.proposals import ProposalKind
from migrations_audit.web import pages


@require_POST
def confirm(request: HttpRequest, proposal: int) -> HttpResponse:
    try:
        closed = proposals.confirm(actor=actor_of(request), proposal_id=proposal)
    except Invalid as error:
        messages.error(request, error.message)
    else:
        is_bound = closed.kind == ProposalKind.POLICY and set(closed.after) & closed.environment.policy_facts().keys()
        void = " Approvals given under the old policy are void." if is_bound else ""
        messages.info(request, f"{closed} is confirmed and in force.{void}")
    return pages.SeeOther(reverse("admin:index"))


@require_POST
def decline(request: HttpRequest, proposal: int) -> HttpResponse:
    try:
        closed = proposals.decline(actor=actor_of(request), proposal_id=proposal, reason=request.POST.get("reason", ""))
    except Invalid as error:
        messages.error(request, error.message)
    else:
        messages.info(request, f"{closed} is declined. Everything stays as it was.")
    return pages.SeeOther(reverse("admin:index"))
