"""A plan that cannot be taken back exactly needs a runbook in production, before anybody approves."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit.access import MissingRole, MissingScope
from migrations_audit.actions import approvals, rehearsals, runbooks
from migrations_audit.errors import Invalid
from migrations_audit.models import MigrationRun
from migrations_audit.states import Outcome
from tests import people
from tests.domain import rehearsed, trail

pytestmark = pytest.mark.django_db

TEXT = "Tell the on-call of payments; restore the column from the backup of the night."


def planned(grade: str, **place: Any) -> tuple[people.Place, MigrationRun]:
    """A run whose rehearsal passed with this grade."""
    made = people.make_place(**place)
    run = people.make_run(made, state="awaiting_approval")
    asked = rehearsals.ask(actor=made.actor("dba"), number=run.number)
    claimed = rehearsals.claim(actor=people.WORKER, rehearsal_id=asked.pk)
    assert claimed is not None
    rehearsals.finish(
        actor=people.WORKER,
        rehearsal_id=asked.pk,
        epoch=claimed.epoch,
        result=rehearsals.Result(Outcome.PASSED, "rehearsed", "It ran.", grade=grade),
    )
    return made, run


def approve(place: people.Place, run: MigrationRun) -> None:
    assert run.plan is not None
    approvals.approve(actor=place.actor("dba"), number=run.number, digest=run.plan.digest)


def test_production_is_not_approved_without_one() -> None:
    place, run = planned("lossy")

    with pytest.raises(runbooks.RunbookMissing):
        approve(place, run)

    runbooks.write(actor=place.actor("dev"), number=run.number, text=TEXT)
    approve(place, run)
    assert trail.last("run.runbook_written").facts["facts"]["runbook"] == TEXT


@pytest.mark.parametrize(("grade", "tier"), [("exact", "production"), ("lossy", "staging")])
def test_an_exact_plan_and_another_tier_need_none(grade: str, tier: str) -> None:
    place, run = planned(grade, tier=tier)

    approve(place, run)

    assert run.approvals.count() == 1


def test_it_does_not_change_under_an_approval() -> None:
    place, run = planned("lossy")
    runbooks.write(actor=place.actor("dev"), number=run.number, text=TEXT)
    approve(place, run)

    with pytest.raises(runbooks.RunbookSettled):
        runbooks.write(actor=place.actor("dev"), number=run.number, text=f"{TEXT} Or not.")

    assert MigrationRun.objects.get(number=run.number).runbook == TEXT


@pytest.mark.parametrize("text", ["", "   ", "Pray.", "x" * 10_001, "a\x00b" * 20])
def test_what_nobody_could_work_by_is_refused(text: str) -> None:
    place, run = planned("lossy")

    with pytest.raises(Invalid):
        runbooks.write(actor=place.actor("dev"), number=run.number, text=text)


def test_a_viewer_writes_none() -> None:
    place, run = planned("lossy")

    with pytest.raises(MissingRole):
        runbooks.write(actor=place.actor("viewer"), number=run.number, text=TEXT)


def test_a_token_writes_one_with_the_scope_to_request() -> None:
    place, run = planned("lossy")

    assert runbooks.write(actor=place.token("dev", "request"), number=run.number, text=TEXT).runbook == TEXT
    with pytest.raises(MissingScope):
        runbooks.write(actor=place.token("dev", "read"), number=run.number, text=TEXT)


def test_a_wish_for_one_does_not_keep_it_from_being_written() -> None:
    place, run = planned("lossy")
    assert run.plan is not None
    dba = place.actor("dba")
    approvals.request_changes(actor=dba, number=run.number, digest=run.plan.digest, comment="Write a runbook.")

    assert runbooks.write(actor=place.actor("dev"), number=run.number, text=TEXT).runbook == TEXT


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.COULD_NOT_RUN])
def test_production_asks_for_one_too_when_no_rehearsal_could_grade_the_plan(outcome: Outcome) -> None:
    place = people.make_place()
    run = people.make_run(place, state="awaiting_approval")
    rehearsed.ended(place, run, outcome)

    with pytest.raises(runbooks.RunbookMissing, match="graded: not at all"):
        approve(place, run)
