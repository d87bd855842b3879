"""Workers among themselves and against people: no fork of the chain, no deadlock, nothing twice."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction

from migrations_audit import hashchain
from migrations_audit.actions import attempts, audit, evidence, moves, plans, runs, sweeps
from migrations_audit.models import Catalog, MigrationRun, Snapshot
from migrations_audit.models.clock import database_now
from migrations_audit.states import Operation
from tests.domain import raw, trail
from tests.domain.racing import ROUNDS, one_winner, race, refusals
from tests.people import WORKER, finish, make_draft, make_place, make_run, observe, read_back

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("real_transactions")]


def let_time_pass(*numbers: int, column: str) -> None:
    MigrationRun.objects.filter(number__in=numbers).update(**{column: database_now() - timedelta(seconds=61)})


def test_appends_from_eight_threads_do_not_fork_the_chain() -> None:
    def append(name: int) -> None:
        for turn in range(10):
            with transaction.atomic():
                audit.record(actor=WORKER, action="test.appended", object_kind="x", object_id=f"{name}/{turn}")

    before = trail.head()

    outcomes = race(*(partial(append, name) for name in range(8)))

    assert refusals(outcomes) == []
    assert trail.head() == before + 80
    assert trail.verify().holds


def test_an_append_that_is_rolled_back_leaves_no_gap() -> None:
    def append(keep: bool) -> None:
        with transaction.atomic():
            audit.record(actor=WORKER, action="test.appended", object_kind="x", object_id="x")
            transaction.set_rollback(not keep)

    for _ in range(ROUNDS):
        assert refusals(race(*(partial(append, keep) for keep in (True, False, True, False)))) == []

    assert trail.verify().holds
    assert trail.head() == 2 * ROUNDS


def test_two_sweeps_at_once_send_and_expire_once() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        waiting = make_run(place, state="requested", revision="003")
        overdue = make_run(place, state="awaiting_approval")
        let_time_pass(waiting.number, column="dispatched_at")
        let_time_pass(overdue.number, column="expires_at")

        outcomes = race(*[partial(sweeps.sweep, actor=WORKER)] * 3)

        assert refusals(outcomes) == []
        waiting.refresh_from_db()
        assert waiting.dispatch_count == 2
        assert trail.of_run(overdue).count("run.expired") == 1
        runs.withdraw(actor=place.actor("dev"), number=waiting.number)


def test_a_sweep_that_expires_many_and_people_who_act_on_them_do_not_block_each_other() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        overdue = [make_run(place, state="awaiting_approval", revision=f"00{index}").number for index in range(3)]
        let_time_pass(*overdue, column="expires_at")

        outcomes = race(
            partial(sweeps.sweep, actor=WORKER),
            *(partial(runs.withdraw, actor=place.actor("dev"), number=number) for number in reversed(overdue)),
        )

        refusals(outcomes)
        states = MigrationRun.objects.filter(number__in=overdue).values_list("state", flat=True)
        assert set(states) <= {"expired", "withdrawn"}


def test_a_sweep_that_is_between_two_runs_does_not_hold_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_place()
    first, second = (make_run(place, state="awaiting_approval", revision=name).number for name in ("001", "002"))
    let_time_pass(first, second, column="expires_at")
    expire = sweeps._expire

    def expire_while_somebody_holds_the_second(*, actor: object, number: int) -> None:
        # The session holds the second row and then wants the chain, as an approval does.
        if number == second:
            with raw.another_session() as session:
                session.execute("SELECT 1 FROM migrations_audit_migrationrun WHERE number = %s FOR UPDATE", [second])
                session.execute("SET lock_timeout = '5s'")
                session.execute("SELECT pg_advisory_xact_lock(%s, %s)", audit.CHAIN_LOCK)
        expire(actor=WORKER, number=number)

    monkeypatch.setattr(sweeps, "_expire", expire_while_somebody_holds_the_second)

    assert sweeps.sweep(actor=WORKER)

    assert set(MigrationRun.objects.values_list("state", flat=True)) == {"expired"}


def test_a_reading_and_the_end_of_a_run_on_the_same_target_do_not_block_each_other() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        run = make_run(place, state="running")
        reading = read_back(place, run)

        outcomes = race(
            partial(finish, place, run, observation=reading),
            partial(observe, place),
            partial(read_back, place, run),
        )

        assert refusals(outcomes) == []
        run.refresh_from_db()
        assert run.state == "applied"


def test_a_plan_and_a_reading_and_a_request_on_the_same_target_do_not_block_each_other() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        run = make_run(place, state="planning")
        draft = make_draft(place)

        outcomes = race(
            partial(plans.record, actor=WORKER, number=run.number, epoch=run.epoch, draft=draft),
            partial(observe, place),
            partial(
                runs.request, actor=place.actor("dev"), target_id=place.target.pk, revision="002", reason="Back.",
                operation=Operation.ROLLBACK, rolls_back=run.number,
            ),
        )  # fmt: skip

        assert refusals(outcomes) == []
        for number in (run.number, outcomes[2].value.number):
            runs.withdraw(actor=place.actor("dev"), number=number)


def test_a_row_that_refers_to_a_locked_run_or_target_does_not_wait_for_it() -> None:
    place = make_place(tier="development", requirements=[])
    run = make_run(place, state="running")

    with transaction.atomic():
        observe(place)
        moves.lock(run.number)
        with raw.another_session() as session:
            session.execute("SET lock_timeout = '1s'")
            session.execute("SELECT 1 FROM migrations_audit_migrationrun WHERE number = %s FOR KEY SHARE", [run.number])
            session.execute("SELECT 1 FROM migrations_audit_target WHERE id = %s FOR KEY SHARE", [place.target.pk])


def test_a_withdrawal_that_waited_for_the_plan_names_the_plan_in_its_event() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        run = make_run(place, state="planning")
        draft = make_draft(place)

        outcomes = race(
            partial(plans.record, actor=WORKER, number=run.number, epoch=run.epoch, draft=draft),
            partial(runs.withdraw, actor=place.actor("dev"), number=run.number),
        )

        refusals(outcomes)
        plan = outcomes[0].value
        facts = trail.last("run.withdrawn").facts["facts"]
        assert facts.get("plan_digest") == (plan.digest if plan else None)


def test_two_workers_that_take_over_a_lost_run_do_so_one_at_a_time() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        run = make_run(place, state="running")
        let_time_pass(run.number, column="lease_expires_at")
        sweeps.sweep(actor=WORKER)

        outcomes = race(*[partial(attempts.take_over, actor=WORKER, number=run.number)] * 3)

        taken = one_winner(outcomes)
        assert taken.epoch == run.epoch + 2  # the loss took one
        finish(place, taken)


def test_the_end_of_a_run_against_its_loss_has_one_winner() -> None:
    place = make_place(tier="development", requirements=[])
    for _ in range(ROUNDS):
        run = make_run(place, state="running")
        reading = read_back(place, run)
        let_time_pass(run.number, column="lease_expires_at")

        outcomes = race(partial(finish, place, run, observation=reading), partial(sweeps.sweep, actor=WORKER))

        ended, lost = trail.of_run(run).count("run.applied"), trail.of_run(run).count("run.worker_lost")
        run.refresh_from_db()
        assert (ended, lost, run.state) in [(1, 0, "applied"), (0, 1, "outcome_unknown")]
        assert [type(error) for error in refusals(outcomes)] == [attempts.LostLease] * lost
        if lost:  # the worker that came too late writes nothing; a reconciliation ends the run
            MigrationRun.objects.filter(number=run.number).update(reconcile_after_at=database_now())
            finish(place, attempts.take_over(actor=WORKER, number=run.number))


def test_the_first_readings_of_two_workers_enrol_one_identity() -> None:
    place = make_place()
    for _ in range(ROUNDS):
        type(place.target).objects.filter(pk=place.target.pk).update(identity=None, enrolled_at=None)
        before = enrolments()

        assert refusals(race(partial(observe, place), partial(observe, place))) == []

        assert enrolments() == before + 1


def test_a_catalog_and_a_snapshot_that_two_workers_bring_at_once_are_stored_once() -> None:
    first = make_place()
    second = make_place(slug="staging", tier="staging", project=first.project)
    for turn in range(ROUNDS):
        catalog = (hashchain.digest(f"catalog {turn}"), {"table public.users": "table"})
        freeze = partial(
            evidence.keep_snapshot, actor=WORKER, project=first.project, digest=hashchain.digest(f"scripts {turn}"),
            archive=b"x", files=[], graph={"heads": []},
        )  # fmt: skip

        outcomes = race(
            partial(observe, first, catalog=catalog), partial(observe, second, catalog=catalog), freeze, freeze
        )

        assert refusals(outcomes) == []
        assert outcomes[2].value == outcomes[3].value
        assert Catalog.objects.filter(fingerprint=catalog[0]).count() == 1
        assert Snapshot.objects.filter(digest=hashchain.digest(f"scripts {turn}")).count() == 1
    assert trail.verify().holds


def test_log_lines_of_two_threads_keep_their_numbers() -> None:
    run = make_run(make_place(), state="running")
    lines = [attempts.Line("stdout", "x")] * 5

    outcomes = race(*[partial(attempts.append_log, number=run.number, epoch=run.epoch, lines=lines)] * 4)

    assert refusals(outcomes) == []
    assert list(run.log.values_list("seq", flat=True)) == list(range(1, 21))


def enrolments() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM migrations_audit_auditevent WHERE action = 'target.enrolled'")
        (count,) = cursor.fetchone()
    return int(count)
