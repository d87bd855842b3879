"""What the API takes. An input that is not named here is refused: nothing is assigned by accident, no filter lost to a typo."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import QueryDict
from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from migrations_audit.errors import Invalid
from migrations_audit.states import Operation, RunState
from migrations_audit.wallclock import in_utc

MOST_ITEMS = 200
BIGGEST = 2**63 - 1


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it holds a NUL character")
    return text


def _with_zone(moment: datetime) -> datetime:
    try:
        return in_utc(moment, field="at")
    except Invalid:
        raise ValueError("give it with its time zone, like 2026-01-31T00:00:00Z") from None


Text = Annotated[str, Field(max_length=200), AfterValidator(_without_nul)]
LongText = Annotated[str, Field(max_length=20_000)]
Number = Annotated[int, Field(ge=0, le=BIGGEST)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="The digest of the plan that you saw.")]


class Body(Schema):
    model_config = ConfigDict(extra="forbid")


class RunRequest(Body):
    """Ask for an upgrade, a rollback or an adoption; a worker then plans it."""

    target: Text = Field(description="project/environment/slug, or the target's id.")
    revision: LongText = Field(
        description="head, heads, a revision id, +N, label@head; for a rollback an id, -N or base; for an adoption no +N."
    )
    reason: LongText = Field(description="For the approvers and the audit.")
    ticket: LongText = ""
    operation: Operation = Operation.UPGRADE
    rolls_back: Number | None = Field(None, description="The run that a rollback takes back; for rollbacks only.")


class Start(Body):
    """Run now: exactly the plan with this digest."""

    digest: Digest
    confirm_target: Text = Field("", description="In production: the target's name, project/environment/slug.")


class Schedule(Body):
    """Start exactly the plan with this digest at this time."""

    digest: Digest
    at: datetime = Field(description="With a time zone, like 2026-11-30T22:00:00Z.")
    confirm_target: Text = Field("", description="In production: the target's name, project/environment/slug.")

    @field_validator("at")
    @classmethod
    def has_a_zone(cls, moment: datetime) -> datetime:
        return _with_zone(moment)


class Withdrawal(Body):
    comment: LongText = ""


class Nothing(Body):
    """An empty object."""


class Query(Schema):
    """The base of what stands behind the question mark. A name that is not known is refused, and so is one given twice."""

    @model_validator(mode="before")
    @classmethod
    def only_known(cls, values: Any, info: ValidationInfo) -> Any:
        given: QueryDict = info.context["request"].GET if info.context else QueryDict()
        if unknown := sorted(set(given) - set(cls.model_fields)):
            raise ValueError(f"there is no parameter {unknown[0][:50]!r}; there are {', '.join(cls.model_fields)}")
        if twice := [name for name in given if len(given.getlist(name)) > 1]:
            raise ValueError(f"{twice[0]} is given twice")
        return values


class TargetsAsked(Query):
    project: Text = ""
    environment: Text = ""
    after: Number = 0
    limit: int = Field(50, ge=1, le=MOST_ITEMS)


class ObservationsAsked(Query):
    before: Number | None = Field(None, description="Only observations with a lower id.")
    after: Number = Field(0, description="Only observations with a higher id.")
    limit: int = Field(50, ge=1, le=MOST_ITEMS)


class RunsAsked(Query):
    state: RunState | None = None
    target: Text = Field("", description="project/environment/slug, or the target's id.")
    environment: Text = ""
    requester: Text = ""
    before: Number | None = Field(None, description="Only runs with a lower number.")
    limit: int = Field(50, ge=1, le=MOST_ITEMS)


class LogAsked(Query):
    after: Number = 0
    limit: int = Field(1_000, ge=1, le=5_000)


class FindingsAsked(Query):
    format: Literal["json", "sarif", "junit"] = Field(
        "json", description="sarif for code scanning, junit for what shows test results."
    )


class GateAsked(Query):
    target: Text = Field(description="project/environment/slug, or the target's id.")
    expect: Text = Field("head", description="head of the scripts, or a full revision id.")


class ExportAsked(Query):
    form: Literal["jsonl", "csv"] = Field(
        "jsonl", description="jsonl is evidence and verifies; csv is a view of the same events."
    )
    actor: Text = Field("", description="A person; finds also what the person's tokens did.")
    action: Text = Field("", description="Matches from its beginning: run. finds every event of runs.")
    environment: Text = ""
    target: Text = Field("", description="Matches from its beginning: market/ finds every target of that project.")
    run: Number | None = None
    since: datetime | None = Field(None, description="With a time zone. Included.")
    until: datetime | None = Field(None, description="With a time zone. Not included.")

    @field_validator("since", "until")
    @classmethod
    def has_a_zone(cls, moment: datetime | None) -> datetime | None:
        return None if moment is None else _with_zone(moment)
