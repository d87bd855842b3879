"""What the policy of an environment demands of rehearsals, asked at the approval, at Run now and at the claim."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit.actions import approvals, attempts, findings, rehearsals, runs
from migrations_audit.models import Approval, Environment, MigrationRun
from migrations_audit.states import Operation, Outcome
from tests.domain import rehearsed, trail
from tests.people import WORKER, Place, approve_by_all, make_place, make_run

pytestmark = pytest.mark.django_db

MISSING = rehearsals.RehearsalMissing


def awaiting(place: Place) -> MigrationRun:
    """A run that waits for approval; the rehearsal that its policy had begun has ended without having run."""
    run = make_run(place, state="awaiting_approval")
    for each in run.rehearsals.open():
        taken = rehearsals.claim(actor=WORKER, rehearsal_id=each.pk)
        assert taken is not None
        rehearsals.give_up(
            actor=WORKER, rehearsal_id=each.pk, epoch=taken.epoch, code="no_copy", sentence="pg_dump is absent."
        )
    return run


def approve(place: Place, run: MigrationRun, who: str = "dba") -> Approval:
    assert run.plan is not None
    return approvals.approve(actor=place.actor(who), number=run.number, digest=run.plan.digest)


def start(place: Place, run: MigrationRun) -> MigrationRun:
    assert run.plan is not None
    return runs.start(
        actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label
    )


def demand(place: Place, **policy: Any) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(**policy)


@pytest.mark.parametrize("policy", ["tried", "passed"])
def test_nobody_approves_before_a_rehearsal_has_ended(policy: str) -> None:
    place = make_place(tier="staging", rehearsal=policy)
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(MISSING, match="none has ended"):
        approve(place, run)

    trail.denied(verb="approvals.approve", code="rehearsal_missing")


@pytest.mark.parametrize("policy", ["on_request", "inform"])
@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.COULD_NOT_RUN])
def test_where_a_rehearsal_only_informs_none_keeps_anybody_from_approving(policy: str, outcome: Outcome) -> None:
    place = make_place(tier="staging", rehearsal=policy)
    run = awaiting(place)
    rehearsed.ended(place, run, outcome)

    assert approve(place, run).rehearsal is not None


def test_one_that_could_not_run_was_tried() -> None:
    place = make_place(tier="staging", rehearsal="tried")

    assert approve(place, awaiting(place)).rehearsal is not None


def test_one_that_could_not_run_has_not_passed() -> None:
    place = make_place(tier="staging", rehearsal="passed")

    with pytest.raises(MISSING, match="could not run: pg_dump is absent"):
        approve(place, awaiting(place))


@pytest.mark.parametrize("policy", ["tried", "passed"])
def test_a_plan_that_failed_on_a_copy_is_not_approved(policy: str) -> None:
    place = make_place(tier="staging", rehearsal=policy)
    run = awaiting(place)
    rehearsed.ended(place, run, Outcome.FAILED, sentence="division by zero")

    with pytest.raises(MISSING, match="failed: division by zero"):
        approve(place, run)


@pytest.mark.parametrize("policy", ["tried", "passed"])
def test_the_newest_rehearsal_counts(policy: str) -> None:
    place = make_place(tier="staging", rehearsal=policy)
    run = awaiting(place)
    rehearsed.ended(place, run, Outcome.FAILED)
    passed = rehearsed.ended(place, run)

    assert approve(place, run).rehearsal == passed


def test_a_plan_that_failed_may_be_rejected() -> None:
    place = make_place(tier="staging", rehearsal="passed")
    run = awaiting(place)
    failed = rehearsed.ended(place, run, Outcome.FAILED)
    assert run.plan is not None

    approvals.reject(actor=place.actor("dba"), number=run.number, digest=run.plan.digest, comment="It fails.")

    assert run.approvals.get().rehearsal == failed


@pytest.mark.parametrize(("within", "hours", "refused"), [(24, 25, True), (24, 23, False), (0, 10_000, False)])
def test_a_rehearsal_may_be_too_old_for_an_approval(within: int, hours: float, refused: bool) -> None:
    place = make_place(tier="staging", rehearsal="passed", rehearsal_within_h=within)
    run = awaiting(place)
    rehearsed.aged(run, rehearsed.ended(place, run).pk, hours)

    if refused:
        with pytest.raises(MISSING, match=r"not older than 24 hours.*Press Rehearse"):
            approve(place, run)
    else:
        assert approve(place, run).rehearsal is not None


def test_its_age_does_not_count_at_the_start() -> None:
    place = make_place(tier="staging", rehearsal="passed", rehearsal_within_h=24)
    run = awaiting(place)
    ended = rehearsed.ended(place, run)
    assert run.plan is not None
    approve_by_all(place, run.number, run.plan.digest)
    rehearsed.aged(run, ended.pk, 25)

    assert start(place, run).state == "queued"


def test_an_approval_keeps_which_rehearsal_it_rests_on() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    first = rehearsed.ended(place, run)
    given = approve(place, run)
    rehearsed.ended(place, run)

    given.refresh_from_db()
    assert given.rehearsal == first
    assert trail.last("run.approval_given").facts["facts"]["rehearsal"] == first.pk


def test_a_rehearsal_that_failed_after_the_approval_keeps_the_run_from_starting() -> None:
    place = make_place(tier="staging", rehearsal="tried")
    run = awaiting(place)
    assert run.plan is not None
    approve_by_all(place, run.number, run.plan.digest)
    rehearsed.ended(place, run, Outcome.FAILED)

    with pytest.raises(MISSING):
        start(place, run)

    run.refresh_from_db()
    assert run.state == "approved"


def test_a_policy_that_became_stricter_counts_at_the_claim() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    demand(place, rehearsal="passed")

    ended = attempts.claim(actor=WORKER, number=run.number)

    assert ended.state in ("refused", "void"), ended.sentence


def test_a_run_that_adopts_needs_no_rehearsal() -> None:
    place = make_place(tier="staging", rehearsal="passed")
    run = make_run(place, state="awaiting_approval", operation=Operation.ADOPT, revision="003")

    assert approve(place, run).rehearsal is None


def test_one_that_could_not_run_takes_nothing_back_of_what_another_saw() -> None:
    place = make_place(tier="staging", rehearsal="tried")
    run = awaiting(place)
    rehearsed.ended(place, run, Outcome.FAILED)
    rehearsed.ended(place, run, Outcome.COULD_NOT_RUN)

    with pytest.raises(MISSING, match="The newest rehearsal of this plan failed"):
        approve(place, run)


def test_one_that_could_not_run_takes_no_finding_away() -> None:
    place = make_place(tier="staging", rehearsal="tried", findings_must_be_accepted="error")
    run = awaiting(place)
    finding = {"code": "drop_column", "severity": "error", "place": "003.py", "sentence": "It goes.", "advice": ""}
    rehearsed.ended(place, run, grade="lossy", findings=[finding])
    rehearsed.ended(place, run, Outcome.COULD_NOT_RUN)

    with pytest.raises(findings.FindingsOpen, match="drop_column"):
        approve(place, run)
