"""Two people, or a person and a worker, at the same moment: one is first, the other learns of it in a sentence."""

from __future__ import annotations

from functools import partial

import pytest

from migrations_audit.actions import approvals, attempts, moves, runs
from migrations_audit.judgement import Judgement
from migrations_audit.models import MigrationRun
from migrations_audit.states import RunState, Verdict
from tests.domain import trail
from tests.domain.racing import ROUNDS, one_winner, race, refusals
from tests.people import WORKER, Place, add_person, make_place, make_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("real_transactions")]


def prepared(place: Place, state: str, *, revision: str = "head") -> tuple[int, str]:
    run = make_run(place, state=state, revision=revision)
    return run.number, run.plan.digest if run.plan else ""


def state_of(number: int) -> str:
    return MigrationRun.objects.get(number=number).state


FAILED = Judgement(RunState.FAILED, Verdict.UNVERIFIED, "no_change", "Nothing was applied.")


def test_approve_against_reject_ends_rejected_whoever_is_first() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")

        outcomes = race(
            partial(approvals.approve, actor=place.actor("dba"), number=number, digest=digest),
            partial(approvals.reject, actor=place.actor("owner"), number=number, digest=digest, comment="No."),
        )

        assert all(isinstance(error, moves.StaleRun) for error in refusals(outcomes))
        assert outcomes[1].error is None
        assert state_of(number) == "rejected"


def test_two_approvals_of_the_last_slot_approve_once() -> None:
    place = make_place(requirements=[{"role": "owner", "count": 1}])
    second = add_person(place, "owner2", ("approver", "owner"))
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")

        outcomes = race(
            partial(approvals.approve, actor=place.actor("owner"), number=number, digest=digest),
            partial(approvals.approve, actor=second, number=number, digest=digest),
        )

        assert refusals(outcomes) == []
        run = MigrationRun.objects.get(number=number)
        assert run.state == "approved"
        assert trail.of_run(run).count("run.approved") == 1
        runs.withdraw(actor=place.actor("dev"), number=number)


def test_the_two_approvals_of_two_slots_are_enough_together() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")

        outcomes = race(
            partial(approvals.approve, actor=place.actor("dba"), number=number, digest=digest),
            partial(approvals.approve, actor=place.actor("owner"), number=number, digest=digest),
        )

        assert refusals(outcomes) == []
        assert state_of(number) == "approved"
        runs.withdraw(actor=place.actor("dev"), number=number)


def test_a_double_click_on_approve_counts_once() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")
        click = partial(approvals.approve, actor=place.actor("dba"), number=number, digest=digest)

        outcomes = race(click, click)

        one_winner(outcomes)
        assert [type(error) for error in refusals(outcomes)] == [approvals.AlreadyDecided]
        runs.withdraw(actor=place.actor("dev"), number=number)


def test_a_double_click_on_run_now_queues_once() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        number, digest = prepared(place, "approved")
        click = partial(runs.start, actor=place.actor("operator"), number=number, digest=digest)

        outcomes = race(click, click)

        assert one_winner(outcomes).state == "queued"
        assert [type(error) for error in refusals(outcomes)] == [moves.StaleRun]
        runs.cancel(actor=place.actor("operator"), number=number)


def test_two_runs_started_on_one_target_never_overlap() -> None:
    place = make_place(tier="development", requirements=[])
    operator = place.actor("operator")
    for _ in range(ROUNDS):
        first, second = prepared(place, "approved"), prepared(place, "approved", revision="003")

        outcomes = race(
            *(partial(runs.start, actor=operator, number=number, digest=digest) for number, digest in (first, second))
        )

        winner = one_winner(outcomes)
        assert [type(error) for error in refusals(outcomes)] == [runs.TargetBusy]
        runs.cancel(actor=operator, number=winner.number)
        loser = ({first[0], second[0]} - {winner.number}).pop()
        runs.withdraw(actor=place.actor("dev"), number=loser)


def test_of_many_deliveries_of_one_run_exactly_one_is_claimed() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        number, _digest = prepared(place, "queued")

        outcomes = race(*[partial(attempts.claim, actor=WORKER, number=number)] * 6)

        run = one_winner(outcomes)
        assert {type(error) for error in refusals(outcomes)} == {attempts.NotClaimable}
        assert (run.state, run.epoch) == ("running", 2)
        assert trail.of_run(run).count("run.claimed") == 1
        attempts.finish(actor=WORKER, number=number, epoch=run.epoch, judgement=FAILED, observation=None)


def test_a_cancel_against_the_claim_either_prevents_the_run_or_reaches_it() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        number, _digest = prepared(place, "queued")

        outcomes = race(
            partial(runs.cancel, actor=place.actor("operator"), number=number),
            partial(attempts.claim, actor=WORKER, number=number),
        )

        errors = refusals(outcomes)
        run = MigrationRun.objects.get(number=number)
        if errors:
            assert [type(error) for error in errors] == [attempts.NotClaimable]
            assert run.state == "cancelled"
        else:
            assert run.state == "running"
            assert attempts.renew(number=number, epoch=run.epoch).cancel_requested
            attempts.finish(actor=WORKER, number=number, epoch=run.epoch, judgement=FAILED, observation=None)


def test_withdraw_against_approve_ends_withdrawn_whoever_is_first() -> None:
    place = make_place(requirements=[{"role": "owner", "count": 1}])
    for _ in range(ROUNDS):
        number, digest = prepared(place, "awaiting_approval")

        outcomes = race(
            partial(runs.withdraw, actor=place.actor("dev"), number=number),
            partial(approvals.approve, actor=place.actor("owner"), number=number, digest=digest),
        )

        assert outcomes[0].error is None
        assert all(isinstance(error, moves.StaleRun) for error in refusals(outcomes))
        assert state_of(number) == "withdrawn"


def test_withdraw_against_start_has_one_winner() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        number, digest = prepared(place, "approved")

        outcomes = race(
            partial(runs.withdraw, actor=place.actor("dev"), number=number),
            partial(
                runs.start,
                actor=place.actor("operator"),
                number=number,
                digest=digest,
                confirm=place.target.label,
            ),
        )

        winner = one_winner(outcomes)
        assert [type(error) for error in refusals(outcomes)] == [moves.StaleRun]
        assert state_of(number) == winner.state
        if winner.state == "queued":
            runs.cancel(actor=place.actor("operator"), number=number)


def test_taking_an_approval_back_against_the_start_has_one_winner() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        number, digest = prepared(place, "approved")

        outcomes = race(
            partial(approvals.take_back, actor=place.actor("dba"), number=number),
            partial(
                runs.start,
                actor=place.actor("operator"),
                number=number,
                digest=digest,
                confirm=place.target.label,
            ),
        )

        one_winner(outcomes)
        assert [type(error) for error in refusals(outcomes)] == [moves.StaleRun]
        if state_of(number) == "queued":
            runs.cancel(actor=place.actor("operator"), number=number)
        else:
            runs.withdraw(actor=place.actor("dev"), number=number)


def test_the_same_request_made_twice_at_once_is_made_once() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        click = partial(
            runs.request, actor=place.actor("dev"), target_id=place.target.pk, revision="head", reason="Twice."
        )

        outcomes = race(click, click, click)

        run = one_winner(outcomes)
        assert {type(error) for error in refusals(outcomes)} == {runs.AlreadyRequested}
        runs.withdraw(actor=place.actor("dev"), number=run.number)
