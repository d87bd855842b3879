"""The findings of a run's plan, for programs. They are accepted by people, so there is no endpoint for that."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from migrations_audit import access, reports
from migrations_audit.api import bearer, inputs, schemas_before
from migrations_audit.errors import Conflict
from migrations_audit.models import MigrationRun, Plan
from migrations_audit.models.clock import database_now
from migrations_audit.queries import findings

router = Router(tags=["Runs"])


class NotPlanned(Conflict):
    """The run has no plan, so nothing was looked for. Ask again when it is planned."""

    code = "not_planned"


@router.get("/runs/{int:number}/findings", response=schemas_before.Findings, summary="Show the findings")
def show_findings(
    request: HttpRequest, number: int, asked: Query[inputs.FindingsAsked]
) -> schemas_before.Findings | HttpResponse:
    """What to know before the plan is approved, and what was accepted of it; as JSON, SARIF 2.1.0 or JUnit XML.

    409 while there is no plan: that nothing was looked for must not read like nothing found.
    """
    run = access.get_run_for(bearer.reader(request), number)
    if run.plan is None:
        raise NotPlanned(f"{run} has no plan, so nothing was looked for. {run.sentence}".strip())
    found = findings.of_run(run, now=database_now())
    if asked.format == "json":
        return schemas_before.Findings(
            run=run.number, plan_digest=run.plan.digest, items=[_item(each) for each in found]
        )
    reported = [_reported(each) for each in found]
    subject = _subject(run, run.plan)
    if asked.format == "sarif":
        return HttpResponse(
            reports.sarif(reported, subject=subject), content_type="application/sarif+json; charset=utf-8"
        )
    return HttpResponse(reports.junit(reported, subject=subject), content_type="application/xml; charset=utf-8")


def _item(each: findings.Standing) -> schemas_before.Finding:
    given = each.acceptance
    return schemas_before.Finding(
        digest=each.digest,
        code=each.code,
        severity=each.severity,
        place=each.place,
        sentence=each.sentence,
        advice=each.advice,
        must_be_accepted=each.is_asked,
        acceptance=schemas_before.Acceptance(
            person=given.accepted_by_name, reason=given.reason, at=given.at, expires_at=given.expires_at
        )
        if given
        else None,
    )


def _reported(each: findings.Standing) -> reports.Reported:
    given = each.acceptance
    accepted = (
        f"Accepted by {given.accepted_by_name} until {given.expires_at:%Y-%m-%d %H:%M} UTC: {given.reason}"
        if given
        else ""
    )
    return reports.Reported(each.digest, each.code, each.severity, each.place, each.sentence, each.advice, accepted)


def _subject(run: MigrationRun, plan: Plan) -> reports.Subject:
    paths = frozenset(step["path"] for step in plan.steps)
    return reports.Subject(run.number, run.target.label, plan.digest, paths)
