"""Pressing Run now."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import grounds, moves, runs, tokens
from migrations_audit.actors import Actor
from migrations_audit.errors import Invalid
from migrations_audit.models import Environment, MigrationRun
from tests.domain import changes, trail
from tests.people import WORKER, Place, add_person, make_place, make_run

pytestmark = pytest.mark.django_db


def start(
    place: Place,
    run: MigrationRun,
    who: str | Actor = "operator",
    digest: str | None = None,
    confirm: str | None = None,
) -> MigrationRun:
    actor = place.actor(who) if isinstance(who, str) else who
    assert run.plan is not None
    return runs.start(
        actor=actor,
        number=run.number,
        digest=run.plan.digest if digest is None else digest,
        confirm=run.target.label if confirm is None else confirm,
    )


def test_an_operator_starts_an_approved_run() -> None:
    place = make_place()

    run = start(place, make_run(place, state="approved"))

    assert (run.state, run.queued_by_name, run.dispatch_count) == ("queued", "operator", 1)
    assert run.sentence == "Queued by operator; waiting for a worker of target-production."
    assert run.queued_at == run.dispatched_at is not None
    assert trail.of_run(run)[-1] == "run.queued"


@pytest.mark.parametrize("name", ["dev", "dba", "owner", "viewer", "auditor", "admin"])
def test_nobody_starts_without_the_role(name: str) -> None:
    place = make_place()

    with pytest.raises(access.MissingRole, match=f"{name} is not operator in Production"):
        start(place, make_run(place, state="approved"), name)

    trail.denied(verb="runs.start", code="missing_role")


def test_a_superuser_an_outsider_and_a_worker_do_not_start() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    with pytest.raises(access.MissingRole):
        start(place, run, add_person(place, "root", superuser=True))
    with pytest.raises(access.Hidden):
        start(place, run, "outsider")
    with pytest.raises(access.Hidden):
        start(place, run, WORKER)


def test_a_token_starts_only_within_its_scope() -> None:
    place = make_place()
    run = make_run(place, state="approved")

    with pytest.raises(access.MissingScope, match="no scope “run”"):
        start(place, run, place.token("operator", "read", "request"))
    trail.denied(verb="runs.start", code="missing_scope")

    new = tokens.create(actor=place.actor("operator"), name="ci", scopes=["run"], days=1)
    assert start(place, run, tokens.authenticate(secret=new.secret, address="127.0.0.1")).state == "queued"


@pytest.mark.parametrize("state", ["awaiting_approval", "queued", "running"])
def test_only_an_approved_run_is_started(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match=f"cannot be started: it is {state.replace('_', ' ')}"):
        start(place, run)


def test_a_run_is_started_once() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    start(place, run)

    with pytest.raises(moves.StaleRun, match="Queued by operator"):
        start(place, run)

    assert trail.of_run(run).count("run.queued") == 1


def test_a_start_names_the_plan_that_was_seen() -> None:
    place = make_place()

    with pytest.raises(grounds.PlanChanged):
        start(place, make_run(place, state="approved"), digest="a" * 64)


def test_runs_on_one_target_never_overlap() -> None:
    place = make_place()
    first = make_run(place, state="queued")
    second = make_run(place, state="approved", revision="003")

    with pytest.raises(
        runs.TargetBusy, match=f"Run {first.number} on market/production/main is queued; wait until it has ended"
    ):
        start(place, second)

    second.refresh_from_db()
    assert second.state == "approved"
    assert "run.queued" not in trail.of_run(second)


def test_a_run_starts_once_the_one_before_it_has_ended() -> None:
    place = make_place()
    first = make_run(place, state="queued")
    second = make_run(place, state="approved", revision="003")
    runs.cancel(actor=place.actor("operator"), number=first.number)

    assert start(place, second).state == "queued"


@pytest.mark.parametrize("change", changes.REFUSED, ids=lambda change: change.__name__)
def test_a_start_is_refused_after(change: changes.Change) -> None:
    place = make_place()
    run = make_run(place, state="approved")
    change(place, run)

    with pytest.raises((grounds.ApprovalIncomplete, grounds.ApprovalExpired)) as refused:
        start(place, run)

    assert refused.value.code == changes.REFUSED[change]
    run.refresh_from_db()
    assert run.state == "approved"


def test_an_incomplete_approval_says_who_is_missing() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    changes.lose_role(place, run)

    with pytest.raises(grounds.ApprovalIncomplete, match="missing: 1 × database-administrator"):
        start(place, run)

    trail.denied(verb="runs.start", code="approval_incomplete")


@pytest.mark.parametrize("typed", ["", "main", "market/staging/main", "MARKET/PRODUCTION/MAIN"])
def test_production_is_started_only_by_its_name_and_nothing_is_lost_by_another(typed: str) -> None:
    place = make_place()
    run = make_run(place, state="approved")
    before = trail.head()

    with pytest.raises(Invalid, match="type the target's name, market/production/main, to start") as refused:
        start(place, run, confirm=typed)

    assert refused.value.field == "confirm_target"
    run.refresh_from_db()
    assert (run.state, run.approvals.filter(withdrawn_at__isnull=True).count()) == ("approved", 2)
    assert trail.head() == before
    assert start(place, run, confirm=" market/production/main ").state == "queued"


def test_elsewhere_the_name_need_not_be_typed() -> None:
    place = make_place(slug="staging", tier="staging")

    assert start(place, make_run(place, state="approved"), confirm="").state == "queued"


def test_a_plan_made_for_production_asks_for_the_name_also_when_the_tier_was_lowered() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    Environment.objects.filter(pk=place.environment.pk).update(tier="development")
    run.target.environment.refresh_from_db()

    with pytest.raises(Invalid, match="to start"):
        runs.check_confirmed(run, "")
    with pytest.raises(grounds.ApprovedThingChanged, match="tier: production → development"):
        start(place, run, confirm="")
