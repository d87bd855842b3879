"""The portal's own pages. Every change is a POST; GET only shows."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from migrations_audit.web.views import (
    audit,
    decisions,
    findings,
    freezes,
    glass,
    live,
    proposals,
    runs,
    schedules,
    targets,
)

app_name = "web"
_signed_in = admin.site.admin_view

urlpatterns = [
    path("runs/<int:number>/", _signed_in(runs.page), name="run"),
    path("runs/<int:number>/approve", _signed_in(decisions.approve), name="approve"),
    path("runs/<int:number>/reject", _signed_in(decisions.reject), name="reject"),
    path("runs/<int:number>/request-changes", _signed_in(decisions.request_changes), name="request_changes"),
    path("runs/<int:number>/take-back", _signed_in(decisions.take_back), name="take_back"),
    path("runs/<int:number>/withdraw", _signed_in(decisions.withdraw), name="withdraw"),
    path("runs/<int:number>/start", _signed_in(decisions.start), name="start"),
    path("runs/<int:number>/schedule", _signed_in(schedules.schedule), name="schedule"),
    path("runs/<int:number>/unschedule", _signed_in(schedules.unschedule), name="unschedule"),
    path("runs/<int:number>/break-glass", _signed_in(glass.break_glass), name="break_glass"),
    path("runs/<int:number>/review", _signed_in(glass.review), name="review_glass"),
    path("proposals/<int:proposal>/confirm", _signed_in(proposals.confirm), name="confirm_proposal"),
    path("proposals/<int:proposal>/decline", _signed_in(proposals.decline), name="decline_proposal"),
    path("notices/<int:notice>/acknowledge", _signed_in(glass.acknowledge), name="acknowledge"),
    path("runs/<int:number>/cancel", _signed_in(decisions.cancel), name="cancel"),
    path("runs/<int:number>/plan-again", _signed_in(decisions.plan_again), name="plan_again"),
    path("runs/<int:number>/verify-again", _signed_in(decisions.verify_again), name="verify_again"),
    path("runs/<int:number>/close", _signed_in(decisions.close_unknown), name="close_unknown"),
    path("runs/<int:number>/accept", _signed_in(decisions.accept_leftovers), name="accept_leftovers"),
    path("runs/<int:number>/rehearse", _signed_in(decisions.rehearse), name="rehearse"),
    path("runs/<int:number>/runbook", _signed_in(decisions.write_runbook), name="runbook"),
    path("runs/<int:number>/findings/accept", _signed_in(findings.accept), name="accept_finding"),
    path("runs/<int:number>/findings/take-back", _signed_in(findings.take_back), name="take_back_finding"),
    path("runs/<int:number>/live", _signed_in(live.fragment), name="live"),
    path("runs/<int:number>/events", live.events, name="events"),
    path("runs/<int:number>/log", _signed_in(live.log), name="log"),
    path("runs/<int:number>/log.txt", _signed_in(live.log_file), name="log_file"),
    path("targets/<int:pk>/", _signed_in(targets.page), name="target"),
    path("targets/<int:pk>/check", _signed_in(targets.check), name="check"),
    path("targets/<int:pk>/upgrade", _signed_in(targets.upgrade), name="upgrade"),
    path("targets/<int:pk>/rollback", _signed_in(targets.rollback), name="rollback"),
    path("targets/<int:pk>/adopt", _signed_in(targets.adopt), name="adopt"),
    path("targets/<int:pk>/forget", _signed_in(targets.forget), name="forget"),
    path("freeze/", _signed_in(freezes.page), name="freeze"),
    path("freeze/begin", _signed_in(freezes.freeze), name="freeze_begin"),
    path("freeze/end", _signed_in(freezes.thaw), name="freeze_end"),
    path("audit/", _signed_in(audit.page), name="audit"),
    path("audit/export", _signed_in(audit.export), name="audit_export"),
]
