"""Starting later: who may choose the time, which times, and what the sweep does when it has come."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from migrations_audit.access import Hidden, MissingRole, MissingScope
from migrations_audit.actions import approvals, attempts, grounds, moves, runs, schedules, sweeps, tokens
from migrations_audit.actions.openings import Frozen, WindowClosed
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.models import ApiToken, MigrationRun
from migrations_audit.models.clock import database_now
from tests import windowing
from tests.domain import changes, racing, raw, trail
from tests.people import WORKER, Place, add_person, make_place, make_run

db = pytest.mark.django_db
HOUR = timedelta(hours=1)


def ahead(hours: float = 1) -> datetime:
    return database_now() + timedelta(hours=hours)


def schedule(
    place: Place, run: MigrationRun, who: str | Actor = "operator", *, at: datetime | None = None, digest: str = ""
) -> MigrationRun:
    actor = place.actor(who) if isinstance(who, str) else who
    assert run.plan is not None
    return schedules.schedule(
        actor=actor,
        number=run.number,
        digest=digest or run.plan.digest,
        at=ahead() if at is None else at,
        confirm=run.target.label,
    )


def scheduled(place: Place, who: str | Actor = "operator") -> MigrationRun:
    """An approved run whose time has come."""
    run = schedule(place, make_run(place, state="approved"), who)
    MigrationRun.objects.filter(number=run.number).update(scheduled_at=database_now() - timedelta(seconds=1))
    return run


def after_the_sweep(run: MigrationRun) -> MigrationRun:
    sweeps.sweep(actor=WORKER)
    run.refresh_from_db()
    return run


# Choosing the time


@db
def test_an_operator_schedules_an_approved_run() -> None:
    place = make_place()
    at = ahead(3)

    run = schedule(place, make_run(place, state="approved"), at=at)

    run.refresh_from_db()
    assert (run.state, run.scheduled_at) == ("approved", at)
    assert run.scheduled_as == {
        "kind": "user", "name": "operator", "user_id": place.people["operator"].pk, "token": "",
    }  # fmt: skip
    assert run.sentence == f"Scheduled by operator to start at {at:%Y-%m-%d %H:%M:%S} UTC."
    assert trail.last("run.scheduled").facts["facts"]["at"] == at.isoformat()


@db
@pytest.mark.parametrize("name", ["dev", "dba", "owner", "viewer", "auditor", "admin"])
def test_nobody_schedules_or_unschedules_without_the_role(name: str) -> None:
    place = make_place()
    run = make_run(place, state="approved")

    with pytest.raises(MissingRole):
        schedule(place, run, name)
    trail.denied(verb="schedules.schedule", code="missing_role")
    schedule(place, run)
    with pytest.raises(MissingRole):
        schedules.unschedule(actor=place.actor(name), number=run.number)
    trail.denied(verb="schedules.unschedule", code="missing_role")


@db
def test_an_outsider_a_superuser_and_a_token_without_the_scope_do_not_schedule() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    with pytest.raises(Hidden):
        schedule(place, run, "outsider")
    with pytest.raises(MissingRole):
        schedule(place, run, add_person(place, "root", superuser=True))
    with pytest.raises(MissingScope):
        schedule(place, run, place.token("operator", "read", "request"))


@db
@pytest.mark.parametrize("state", ["requested", "awaiting_approval", "queued", "running"])
def test_only_an_approved_run_is_scheduled(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match=f"cannot be scheduled: it is {state.replace('_', ' ')}"):
        schedules.schedule(actor=place.actor("operator"), number=run.number, digest="a" * 64, at=ahead())


@db
def test_a_time_lies_ahead_and_before_the_end_of_the_approval() -> None:
    place = make_place(approval_lifetime_s=7_200)
    run = make_run(place, state="approved")

    with pytest.raises(Invalid, match="has passed") as refused:
        schedule(place, run, at=ahead(-1))
    assert refused.value.field == "at"
    with pytest.raises(grounds.ApprovalExpired, match="Choose an earlier time"):
        schedule(place, run, at=ahead(3))
    with pytest.raises(grounds.PlanChanged):
        schedule(place, run, digest="a" * 64)

    assert schedule(place, run, at=ahead(1)).state == "approved"


@db
def test_a_time_outside_of_the_windows_is_refused_with_the_next_opening_and_one_inside_is_taken() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    windowing.opens_in(place.environment, 3)

    with pytest.raises(WindowClosed, match="The next opening is") as refused:
        schedule(place, run, at=ahead(2))

    assert refused.value.opens_at is not None
    assert schedule(place, run, at=refused.value.opens_at).scheduled_at == refused.value.opens_at


@db
def test_a_time_under_a_freeze_is_refused_and_one_after_its_end_is_taken() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    windowing.frozen(place, until=ahead(2))

    with pytest.raises(Frozen):
        schedule(place, run, at=ahead(1))

    assert schedule(place, run, at=ahead(3)).scheduled_at is not None


@db
def test_another_time_takes_the_place_of_the_first() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    schedule(place, run, at=ahead(1))

    later = ahead(2)
    assert schedule(place, run, at=later).scheduled_at == later
    assert trail.of_run(run).count("run.scheduled") == 2


@db
def test_a_run_is_taken_off_once_and_stays_approved() -> None:
    place = make_place()
    run = schedule(place, make_run(place, state="approved"))

    schedules.unschedule(actor=place.actor("operator"), number=run.number)

    run.refresh_from_db()
    assert (run.state, run.scheduled_at, run.scheduled_as) == ("approved", None, None)
    assert run.sentence == "Taken off its schedule by operator; waiting for an operator to press Run now."
    assert trail.of_run(run)[-1] == "run.unscheduled"
    with pytest.raises(schedules.NotScheduled):
        schedules.unschedule(actor=place.actor("operator"), number=run.number)


@db
def test_whatever_moves_the_run_ends_its_schedule() -> None:
    place = make_place()
    run = schedule(place, make_run(place, state="approved"))

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert (run.state, run.scheduled_at) == ("awaiting_approval", None)


@db
def test_the_database_keeps_a_schedule_to_approved_runs_and_to_somebody() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    with pytest.raises(IntegrityError, match="only_an_approved_run_is_scheduled"), transaction.atomic():
        raw.execute("UPDATE migrations_audit_migrationrun SET scheduled_at = now() WHERE number = %s", run.number)
    schedule(place, run)
    with pytest.raises(IntegrityError, match="only_an_approved_run_is_scheduled"), transaction.atomic():
        raw.execute("UPDATE migrations_audit_migrationrun SET state = 'queued' WHERE number = %s", run.number)


# When the time has come


@db
def test_the_sweep_starts_what_is_due_in_the_name_of_whoever_scheduled_it() -> None:
    place = make_place()
    run = after_the_sweep(scheduled(place))

    assert (run.state, run.queued_by_name, run.scheduled_at, run.dispatch_count) == ("queued", "operator", None, 1)
    assert run.sentence == "Queued at its time, scheduled by operator; waiting for a worker of target-production."
    event = trail.last("run.queued")
    assert event.facts["actor"]["name"] == "operator"
    assert "scheduled_at" in event.facts["facts"]
    assert attempts.claim(actor=WORKER, number=run.number).state == "running"


@db
def test_the_sweep_leaves_what_is_not_due() -> None:
    place = make_place()

    run = after_the_sweep(schedule(place, make_run(place, state="approved")))

    assert run.state == "approved"
    assert run.scheduled_at is not None


@db
def test_a_second_sweep_starts_nothing_again() -> None:
    place = make_place()
    run = after_the_sweep(scheduled(place))

    after_the_sweep(run)
    schedules.start_due(actor=WORKER, number=run.number)

    assert trail.of_run(run).count("run.queued") == 1


def closes(place: Place, run: MigrationRun) -> None:
    windowing.closed(place.environment)


def freezes(place: Place, run: MigrationRun) -> None:
    windowing.frozen(place)


def loses_the_role(place: Place, run: MigrationRun) -> None:
    place.people["operator"].groups.clear()
    add_person(place, "viewing operator")


def leaves(place: Place, run: MigrationRun) -> None:
    place.people["operator"].is_active = False
    place.people["operator"].save(update_fields=["is_active"])


def is_busy(place: Place, run: MigrationRun) -> None:
    make = make_run(place, state="approved", revision="003")
    add_person(place, "second", ("operator", ""))
    assert make.plan is not None
    runs.start(actor=place.actor("second"), number=make.number, digest=make.plan.digest, confirm=make.target.label)


def is_late(place: Place, run: MigrationRun) -> None:
    MigrationRun.objects.filter(number=run.number).update(scheduled_at=database_now() - timedelta(minutes=16))


REFUSED: dict[changes.Change, tuple[str, str]] = {
    closes: ("window_closed", "Closed by the closing window “month end”"),
    freezes: ("frozen", "Incident 7."),
    loses_the_role: ("not_found", "may not see it"),
    leaves: ("starter_gone", "operator may not sign in any more"),
    is_busy: ("target_busy", "wait until it has ended"),
    is_late: ("started_too_late", "Its time passed while the portal did not look"),
    changes.lose_role: ("approval_incomplete", "no longer meet the policy"),
}


@db
@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_what_is_refused_at_its_time_is_taken_off_and_says_why(change: changes.Change) -> None:
    place = make_place()
    run = scheduled(place)
    change(place, run)

    run = after_the_sweep(run)

    code, words = REFUSED[change]
    assert (run.state, run.scheduled_at, run.reason_code) == ("approved", None, code)
    assert run.sentence.startswith("Not started at ")
    assert "for which operator had scheduled it." in run.sentence
    assert words in run.sentence
    assert run.sentence.endswith("It is approved as before.")
    event = trail.last("run.unscheduled")
    assert (event.facts["facts"]["code"], event.facts["actor"]["name"]) == (code, WORKER.name)
    assert "run.queued" not in trail.of_run(run)


@db
def test_an_approval_that_has_expired_ends_the_run_and_not_only_its_schedule() -> None:
    place = make_place()
    run = scheduled(place)
    changes.expire(place, run)

    assert after_the_sweep(run).state == "expired"


@db
def test_a_token_schedules_and_starts_only_while_it_is_good() -> None:
    place = make_place()
    new = tokens.create(actor=place.actor("operator"), name="ci", scopes=["run"], days=1)
    actor = tokens.authenticate(secret=new.secret, address="127.0.0.1")
    run = scheduled(place, actor)
    assert run.scheduled_as is not None
    assert run.scheduled_as["token"] == new.token.prefix

    again = schedule(place, run, actor)
    ApiToken.objects.filter(pk=new.token.pk).update(revoked_at=database_now())
    MigrationRun.objects.filter(number=again.number).update(scheduled_at=database_now())
    run = after_the_sweep(again)

    assert (run.state, run.reason_code) == ("approved", "token_revoked")
    with pytest.raises(tokens.TokenRevoked):
        schedule(place, run, actor)


@db
def test_a_good_token_starts_it_under_its_own_name() -> None:
    place = make_place()
    new = tokens.create(actor=place.actor("operator"), name="ci", scopes=["run"], days=1)
    actor = tokens.authenticate(secret=new.secret, address="127.0.0.1")

    run = after_the_sweep(scheduled(place, actor))

    assert (run.state, run.queued_by_name) == ("queued", actor.name)
    assert trail.last("run.queued").facts["actor"]["kind"] == "token"


# At the same time


@pytest.mark.usefixtures("real_transactions")
def test_of_run_now_and_the_sweep_at_the_same_moment_one_starts_it() -> None:
    place = make_place(requirements=[], tier="staging")
    for _ in range(racing.ROUNDS):
        run = scheduled(place)
        assert run.plan is not None

        outcomes = racing.race(
            functools.partial(runs.start, actor=place.actor("operator"), number=run.number, digest=run.plan.digest),
            functools.partial(schedules.start_due, actor=WORKER, number=run.number),
            functools.partial(sweeps.sweep, actor=WORKER),
        )

        assert {error.code for error in racing.refusals(outcomes)} <= {"stale_run"}
        run.refresh_from_db()
        assert (run.state, run.scheduled_at) == ("queued", None)
        assert trail.of_run(run).count("run.queued") == 1
        assert "run.unscheduled" not in trail.of_run(run)
        runs.cancel(actor=place.actor("operator"), number=run.number)


@pytest.mark.usefixtures("real_transactions")
def test_of_taking_off_and_the_sweep_at_the_same_moment_one_has_its_way() -> None:
    place = make_place(requirements=[], tier="staging")
    operator = place.actor("operator")
    for _ in range(racing.ROUNDS // 2):
        run = scheduled(place)

        outcomes = racing.race(
            functools.partial(schedules.unschedule, actor=operator, number=run.number),
            functools.partial(schedules.start_due, actor=WORKER, number=run.number),
        )

        refused = racing.refusals(outcomes)
        run.refresh_from_db()
        assert run.state == ("queued" if refused else "approved")
        assert run.scheduled_at is None
        (runs.cancel if refused else runs.withdraw)(
            actor=operator if refused else place.actor("admin"), number=run.number
        )
