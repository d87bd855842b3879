"""What the API tells of what is known before a run: rehearsals, findings, and whether the portal is frozen."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from ninja import Schema
from pydantic import Field

from migrations_audit import models
from migrations_audit.states import Grade, Outcome, RehearsalState


class Rehearsal(Schema):
    """A plan played on a throw-away copy. ``outcome`` is empty until it has ended."""

    id: int
    run: int
    plan: str = Field(description="The digest of the plan that was played.")
    state: RehearsalState
    outcome: Outcome | None
    code: str
    sentence: str
    grade: Grade | None = Field(description="How far the plan can be taken back: that of its worst revision.")
    asked_by: str
    asked_at: datetime
    ended_at: datetime | None
    server_version: str
    differences: list[str] = Field(description="Where the copy's catalog was not that of its target.")
    problems: list[str] = Field(description="What the server said while the copy was made.")
    steps: list[dict[str, Any]] = Field(
        description="Each revision: statements with locks and rewrites, changes, grade, reasons."
    )
    delta: list[dict[str, str]] = Field(
        description="What the whole plan must make of the target's catalog, and nothing else."
    )
    impact: dict[str, Any] = Field(
        description="Sizes, sessions and standbys of the target then, and the locks forecast."
    )

    @classmethod
    def of(cls, row: models.Rehearsal) -> Self:
        same = "code sentence asked_at ended_at server_version differences problems steps delta impact"
        return cls(
            id=row.pk,
            run=row.run_id,
            plan=row.plan.digest,
            state=RehearsalState(row.state),
            outcome=Outcome(row.outcome) if row.outcome else None,
            grade=Grade(row.grade) if row.grade else None,
            asked_by=row.asked_by_name,
            **{name: getattr(row, name) for name in same.split()},
        )


class Acceptance(Schema):
    """Who accepted a finding, why, and until when."""

    person: str
    reason: str
    at: datetime
    expires_at: datetime


class Finding(Schema):
    """One thing to know before the plan is approved."""

    digest: str = Field(description="Names code, place and sentence.")
    code: str
    severity: str = Field(description="error, warning or notice.")
    place: str
    sentence: str
    advice: str = Field(description="The safer way.")
    must_be_accepted: bool = Field(
        description="The environment's policy wants it accepted before the plan is approved."
    )
    acceptance: Acceptance | None = Field(description="The acceptance that counts for this run; null while it is open.")


class Findings(Schema):
    run: int
    plan_digest: str
    items: list[Finding] = Field(description="Worst first.")


class Freeze(Schema):
    """Whether the portal is frozen. There is no endpoint that freezes or thaws: a person does, in the browser or a shell."""

    is_frozen: bool
    sentence: str
    reason: str
    by: str
    at: datetime | None
    until: datetime | None

    @classmethod
    def of(cls, row: models.Freeze | None) -> Self:
        if row is None:
            sentence = "The portal is not frozen."
            return cls(is_frozen=False, sentence=sentence, reason="", by="", at=None, until=None)
        return cls(is_frozen=True, sentence=row.sentence, reason=row.reason, by=row.by_name, at=row.at, until=row.until)
