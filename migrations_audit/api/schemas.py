"""What the API answers. Every field is named here, so nothing else of a row can leave: no URL, no secret, no sealed value."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from ninja import Schema
from pydantic import Field

from migrations_audit import models
from migrations_audit.queries import gate
from migrations_audit.states import (
    Operation,
    Outcome,
    RunState,
    StepState,
    TargetStatus,
    Verdict,
)


class Problem(Schema):
    """A refusal."""

    code: str = Field(description="Stable and machine-readable.")
    message: str = Field(description="What happened, to what, and what to do next.")


class InputProblem(Problem):
    """A refusal of one input."""

    field: str = Field(description="The input that was not accepted.")


class Refusal(Schema):
    """What every answer with another status than those above looks like."""

    error: InputProblem | Problem


class Observation(Schema):
    """One reading of a target."""

    id: int
    at: datetime
    age_s: float = Field(description="How long ago, in seconds, by the portal's clock.")
    is_stale: bool = Field(description="Too old by the environment's policy to say anything about now.")
    reader: str
    purpose: str
    status: TargetStatus
    sentence: str
    error_code: str
    revisions: list[str] | None = Field(
        description="The rows of the version table; null when there is none, or it was not read."
    )
    heads: list[str]
    pending: list[dict[str, Any]]
    identity: dict[str, Any] | None
    catalog: str | None = Field(description="The fingerprint of the schema.")
    snapshot: str | None = Field(description="The digest of the script files that it was compared with.")
    run: int | None

    @classmethod
    def of(cls, row: models.Observation, *, environment: models.Environment, now: datetime) -> Self:
        return cls(
            id=row.pk,
            at=row.at,
            age_s=max((now - row.at).total_seconds(), 0.0),
            is_stale=row.is_stale(now=now, environment=environment),
            reader=row.reader,
            purpose=row.purpose,
            status=TargetStatus(row.status),
            sentence=row.sentence,
            error_code=row.error_code,
            revisions=row.revisions,
            heads=row.heads,
            pending=row.pending,
            identity=row.identity,
            catalog=row.catalog_id,
            snapshot=row.snapshot.digest if row.snapshot else None,
            run=row.run_id,
        )


class Observations(Schema):
    items: list[Observation] = Field(description="Newest first.")
    next_before: int | None = Field(description="Ask again with before=… for older ones; null at the end.")


class Target(Schema):
    """One database of one project in one environment, with the last reading of it."""

    id: int
    label: str = Field(description="project/environment/slug, which names the target everywhere.")
    project: str
    environment: str
    tier: str
    slug: str
    url_reference: str = Field(description="Where the worker finds the URL. Never the URL, and never a sealed value.")
    identity: dict[str, Any] | None = Field(description="The enrolled database.")
    enrolled_at: datetime | None
    observation: Observation | None = Field(description="The last reading; null when it was never read.")

    @classmethod
    def of(cls, row: models.Target, *, last: models.Observation | None, now: datetime) -> Self:
        return cls(
            id=row.pk,
            label=row.label,
            project=row.project.slug,
            environment=row.environment.slug,
            tier=row.environment.tier,
            slug=row.slug,
            url_reference=row.shown_reference,
            identity=row.identity,
            enrolled_at=row.enrolled_at,
            observation=Observation.of(last, environment=row.environment, now=now) if last else None,
        )


class Targets(Schema):
    items: list[Target]
    next_after: int | None = Field(description="Ask again with after=… for more; null at the end.")


class CheckRequested(Schema):
    """A worker was asked to read the target. The reading is there when an observation with a higher id is."""

    target: str
    last_observation: int | None


class Plan(Schema):
    """What would run, frozen. ``digest`` is the SHA-256 of ``body``; approvals and the start name it."""

    digest: str
    body: str
    target: str
    operation: Operation
    requested: str
    from_revisions: list[str]
    to_revisions: list[str] = Field(description="The exact rows that the version table must hold afterwards.")
    destination: list[str]
    steps: list[dict[str, Any]]
    sql: str
    sql_reason: str
    findings: list[dict[str, Any]]
    options: dict[str, Any]
    parts: dict[str, str] = Field(description="One digest for each thing whose change voids an approval.")
    identity: dict[str, Any]
    snapshot: str
    base_observation: int
    at: datetime
    runs: list[int]

    @classmethod
    def of(cls, row: models.Plan) -> Self:
        same = (
            "digest body requested from_revisions to_revisions destination steps sql sql_reason findings options parts "
            "identity at"
        )
        return cls(
            **{name: getattr(row, name) for name in same.split()},
            target=row.target.label,
            operation=Operation(row.operation),
            snapshot=row.snapshot.digest,
            base_observation=row.base_observation_id,
            runs=list(row.runs.order_by("number").values_list("number", flat=True)),
        )


class Approval(Schema):
    person: str
    decision: str
    roles: list[str]
    comment: str
    at: datetime
    withdrawn_at: datetime | None


class Step(Schema):
    position: int
    revision: str
    direction: str
    message: str
    state: StepState
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None
    statements: int


class RunSummary(Schema):
    """One attempt to execute one plan on one target. ``state`` is its life, ``verdict`` what the target said when read back."""

    number: int
    target: str
    environment: str
    operation: Operation
    requested: str
    requester: str
    reason: str
    ticket: str
    state: RunState
    verdict: Verdict
    phase: str
    sentence: str
    reason_code: str
    plan_digest: str | None
    from_revisions: list[str] | None
    to_revisions: list[str] | None
    requested_at: datetime
    planned_at: datetime | None
    approved_at: datetime | None
    expires_at: datetime | None
    queued_at: datetime | None
    queued_by: str
    started_at: datetime | None
    finished_at: datetime | None
    broke_glass_at: datetime | None = Field(
        description="When it was started without approval; null for ever otherwise."
    )
    broke_glass_by: str

    @classmethod
    def facts(cls, row: models.MigrationRun) -> dict[str, Any]:
        same = (
            "number requested reason ticket phase sentence reason_code requested_at planned_at approved_at expires_at "
            "queued_at started_at finished_at broke_glass_at"
        )
        plan = row.plan
        return {name: getattr(row, name) for name in same.split()} | {
            "target": row.target.label,
            "environment": row.target.environment.slug,
            "operation": Operation(row.operation),
            "requester": row.requester_name,
            "state": row.run_state,
            "verdict": Verdict(row.verdict),
            "plan_digest": plan.digest if plan else None,
            "from_revisions": plan.from_revisions if plan else None,
            "to_revisions": plan.to_revisions if plan else None,
            "queued_by": row.queued_by_name,
            "broke_glass_by": row.broke_glass_by_name,
        }

    @classmethod
    def of(cls, row: models.MigrationRun) -> Self:
        return cls(**cls.facts(row))


class GlassReview(Schema):
    """What somebody else signed after a run was started without approval."""

    person: str
    text: str
    at: datetime

    @classmethod
    def of(cls, row: models.MigrationRun) -> Self | None:
        found = models.GlassReview.objects.filter(run=row).first() if row.broke_glass_at else None
        return cls(person=found.person_name, text=found.text, at=found.at) if found else None


class Run(RunSummary):
    rolls_back: int | None
    worker: str
    isolation: str = Field(description="What kept the migration code apart from the portal; empty before it ran.")
    scheduled_at: datetime | None
    scheduled_by: str
    cancel_requested_at: datetime | None
    cancel_requested_by: str
    verified_by: int | None = Field(description="The observation on which the verdict rests.")
    broke_glass_why_now: str
    broke_glass_why_not_approved: str
    glass_review: GlassReview | None = Field(description="Null until somebody else than the starter has signed.")
    approvals: list[Approval]
    steps: list[Step]

    @classmethod
    def of(cls, row: models.MigrationRun) -> Self:
        decided = "roles decision comment at withdrawn_at"
        stepped = "position revision direction message started_at ended_at duration_ms statements"
        return cls(
            **cls.facts(row),
            rolls_back=row.rolls_back_id,
            worker=row.worker,
            isolation=row.isolation,
            scheduled_at=row.scheduled_at,
            scheduled_by=row.scheduled_as["name"] if row.scheduled_as else "",
            cancel_requested_at=row.cancel_requested_at,
            cancel_requested_by=row.cancel_requested_by,
            verified_by=row.verified_by_id,
            broke_glass_why_now=row.broke_glass_why_now,
            broke_glass_why_not_approved=row.broke_glass_why_not,
            glass_review=GlassReview.of(row),
            approvals=[
                Approval(person=each.person_name, **{name: getattr(each, name) for name in decided.split()})
                for each in row.approvals.all()
            ],
            steps=[
                Step(state=StepState(each.state), **{name: getattr(each, name) for name in stepped.split()})
                for each in row.steps.all()
            ],
        )


class Runs(Schema):
    items: list[RunSummary] = Field(description="Newest first.")
    next_before: int | None = Field(description="Ask again with before=… for older ones; null at the end.")


class LogLine(Schema):
    seq: int
    at: datetime
    stream: str
    text: str
    duration_ms: int | None


class Log(Schema):
    """What a run has said so far. For people: no fact of the portal is taken from it."""

    run: int
    state: RunState
    items: list[LogLine]
    next_after: int = Field(description="Ask again with after=… for what follows.")
    is_complete: bool = Field(description="The run has ended and this is the end of its log.")


class Check(Schema):
    """One check of a run with what was expected, what was observed, and the observation on which it rests."""

    check: str
    expected: str
    observed: str
    outcome: Outcome
    detail: list[Any]
    observation: int | None
    at: datetime


class RunEvidence(Schema):
    run: int
    verdict: Verdict
    verified_by: int | None
    items: list[Check]


class Gate(Schema):
    """Whether a target really has the revision. Only in_sync comes with 200, and it takes a fresh reading."""

    answer: gate.Answer
    target: str
    expected: str
    reason: str = Field(
        description="Why nothing can be said: never_read, unreachable, unreadable, stale, unreadable_scripts, not_enrolled, "
        "run_in_progress, "
        "outcome_unknown. Empty otherwise."
    )
    sentence: str
    revisions: list[str] = Field(description="What the target lacks; or has too many, when it is ahead.")
    observation: Observation | None

    @classmethod
    def facts(cls, found: gate.Gate, *, now: datetime) -> dict[str, Any]:
        last, environment = found.observation, found.target.environment
        return {
            "answer": found.answer,
            "target": found.target.label,
            "expected": found.expected,
            "reason": found.reason,
            "sentence": found.sentence,
            "revisions": list(found.revisions),
            "observation": Observation.of(last, environment=environment, now=now) if last else None,
        }


class ClosedGate(Gate):
    """The gate's answer when it is not ``in_sync``: 409 when the reading says so, 503 when there is none that counts."""

    error: Problem
