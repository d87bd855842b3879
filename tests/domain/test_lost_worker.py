"""A worker that stops answering: nobody guesses, another reads the target in a new epoch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.actions import attempts, sweeps
from migrations_audit.judgement import Judgement, judge
from migrations_audit.models import MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import Phase, RunState, Verdict
from tests.domain import trail
from tests.people import WORKER, Place, finish, make_facts, make_place, make_run, make_witness

pytestmark = pytest.mark.django_db


def lost(place: Place) -> MigrationRun:
    """A run whose worker died in its execute phase and was noticed."""
    run = make_run(place, state="running")
    attempts.enter_phase(actor=WORKER, number=run.number, epoch=run.epoch, phase=Phase.EXECUTE, sentence="Executing.")
    let_lease_end(run)
    sweeps.sweep(actor=WORKER)
    run.refresh_from_db()
    return run


def let_lease_end(run: MigrationRun) -> None:
    MigrationRun.objects.filter(number=run.number).update(lease_expires_at=database_now() - timedelta(seconds=1))


def let_it_be_due(run: MigrationRun) -> None:
    MigrationRun.objects.filter(number=run.number).update(reconcile_after_at=database_now() - timedelta(seconds=1))


def test_a_run_whose_lease_is_over_has_an_unknown_outcome() -> None:
    run = lost(make_place())

    assert (run.state, run.reason_code, run.verdict) == ("outcome_unknown", "worker_lost", "unverified")
    assert run.sentence.startswith("worker@test stopped answering in phase execute.")
    assert run.finished_at is None
    assert trail.last("run.worker_lost").facts["facts"]["phase"] == "execute"


def test_a_run_with_a_lease_is_left_alone() -> None:
    run = make_run(make_place(), state="running")

    sweeps.sweep(actor=WORKER)

    run.refresh_from_db()
    assert run.state == "running"


def test_a_loss_is_noticed_once() -> None:
    run = lost(make_place())

    sweeps.sweep(actor=WORKER)

    assert trail.of_run(run).count("run.worker_lost") == 1


def test_another_worker_takes_over_in_a_new_epoch() -> None:
    run = lost(make_place())

    taken = attempts.take_over(actor=WORKER, number=run.number)

    assert (taken.state, taken.epoch) == ("outcome_unknown", run.epoch + 1)
    assert taken.lease_expires_at is not None
    assert trail.last("run.reconciling").facts["facts"]["epoch"] == taken.epoch


def test_it_is_taken_over_by_one_at_a_time() -> None:
    run = lost(make_place())
    attempts.take_over(actor=WORKER, number=run.number)

    with pytest.raises(attempts.NotClaimable, match="is being reconciled by worker@test"):
        attempts.take_over(actor=WORKER, number=run.number)


def test_it_is_taken_over_again_when_the_second_worker_is_lost_too() -> None:
    run = lost(make_place())
    second = attempts.take_over(actor=WORKER, number=run.number)
    let_lease_end(second)
    with pytest.raises(attempts.NotClaimable, match="is read again at"):
        attempts.take_over(actor=WORKER, number=run.number)
    let_it_be_due(second)

    assert attempts.take_over(actor=WORKER, number=run.number).epoch == second.epoch + 1


@pytest.mark.parametrize("state", ["approved", "queued", "running"])
def test_only_an_unknown_outcome_is_taken_over(state: str) -> None:
    run = make_run(make_place(), state=state)

    with pytest.raises(attempts.NotClaimable):
        attempts.take_over(actor=WORKER, number=run.number)


def test_a_lost_worker_that_wakes_up_finds_its_epoch_gone_before_anybody_took_over() -> None:
    place = make_place()
    run = make_run(place, state="running")
    let_lease_end(run)
    sweeps.sweep(actor=WORKER)

    assert not attempts.renew(number=run.number, epoch=run.epoch).held
    with pytest.raises(attempts.LostLease):
        finish(place, run)
    with pytest.raises(attempts.LostLease):
        attempts.append_log(number=run.number, epoch=run.epoch, lines=[attempts.Line("portal", "late")])


def test_a_reconciliation_that_reads_the_result_confirms_it() -> None:
    place = make_place()
    taken = attempts.take_over(actor=WORKER, number=lost(place).number)

    ended = finish(place, taken, judgement=judge(make_facts(), make_witness(by_reconciliation=True, exit_code=None)))

    assert (ended.state, ended.verdict) == ("applied", "verified")
    assert ended.sentence.endswith("Confirmed by reconciliation; the worker was lost.")


def test_a_reconciliation_that_cannot_read_leaves_the_outcome_unknown() -> None:
    taken = attempts.take_over(actor=WORKER, number=lost(make_place()).number)
    unread = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers.")

    attempts.finish(actor=WORKER, number=taken.number, epoch=taken.epoch, judgement=unread, observation=None)

    taken.refresh_from_db()
    assert (taken.state, taken.reason_code, taken.lease_expires_at) == ("outcome_unknown", "target_not_reached", None)
    assert taken.reconcile_after_at is not None
    assert taken.reconcile_after_at > database_now()
    with pytest.raises(attempts.NotClaimable, match="is read again at"):
        attempts.take_over(actor=WORKER, number=taken.number)
    let_it_be_due(taken)
    assert attempts.take_over(actor=WORKER, number=taken.number).epoch == taken.epoch + 1


def test_an_unknown_outcome_that_stays_so_gathers_no_evidence() -> None:
    place = make_place()
    taken = attempts.take_over(actor=WORKER, number=lost(place).number)
    elsewhere = judge(make_facts(identity_differences=("Another system.",)), make_witness(by_reconciliation=True))

    finish(place, taken, judgement=elsewhere)

    assert taken.evidence.count() == 0


def test_a_worker_that_cannot_go_on_gives_up_and_a_reconciliation_is_due() -> None:
    place = make_place()
    run = make_run(place, state="running")

    attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="The disk is full.")

    run.refresh_from_db()
    assert (run.state, run.reason_code, run.sentence) == ("outcome_unknown", "worker_gave_up", "The disk is full.")
    assert run.reconcile_after_at is not None
    assert trail.last("run.abandoned").facts["facts"]["phase"] == "preflight"
    assert not attempts.renew(number=run.number, epoch=run.epoch - 1).held
    assert attempts.take_over(actor=WORKER, number=run.number).epoch == run.epoch + 1


def test_it_gives_up_once_and_only_what_it_holds() -> None:
    place = make_place()
    run = make_run(place, state="running")

    with pytest.raises(attempts.LostLease):
        attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch - 1, sentence="x")
    attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="The disk is full.")
    with pytest.raises(attempts.LostLease, match="it is outcome unknown"):
        attempts.abandon(actor=WORKER, number=run.number, epoch=run.epoch, sentence="x")

    assert trail.of_run(run).count("run.abandoned") == 1


def test_the_pauses_between_reconciliations_grow_and_have_an_end() -> None:
    run = lost(make_place())
    unread = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers.")
    pauses = []

    for _ in range(9):
        taken = attempts.take_over(actor=WORKER, number=run.number)
        attempts.finish(actor=WORKER, number=run.number, epoch=taken.epoch, judgement=unread, observation=None)
        due = MigrationRun.objects.get(number=run.number).reconcile_after_at
        assert due is not None
        pauses.append(round((due - trail.last("run.outcome_unknown").at).total_seconds()))
        let_it_be_due(run)

    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1] == attempts.LONGEST_PAUSE_S
