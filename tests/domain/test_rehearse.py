"""Asking for a rehearsal: who may, when, and what it leaves."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from migrations_audit import access, dispatch
from migrations_audit.actions import moves, rehearsals, runs
from migrations_audit.actors import Actor
from migrations_audit.models import Rehearsal
from migrations_audit.states import Operation
from tests.domain import rehearsed, trail
from tests.domain.racing import one_winner, race
from tests.people import WORKER, Place, add_person, make_place, make_run

pytestmark = pytest.mark.django_db


def ask(place: Place, number: int, who: str | Actor = "dba") -> Rehearsal:
    actor = place.actor(who) if isinstance(who, str) else who
    return rehearsals.ask(actor=actor, number=number)


@pytest.mark.parametrize("name", ["dba", "owner", "operator", "dev"])
def test_whoever_decides_starts_or_asked_for_the_run_has_it_rehearsed(name: str) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    asked = ask(place, run.number, name)

    assert (asked.state, asked.asked_by_name, asked.plan, asked.epoch) == ("waiting", name, run.plan, 0)


@pytest.mark.parametrize("name", ["viewer", "auditor", "admin"])
def test_nobody_else_in_the_environment_has_it_rehearsed(name: str) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(access.MissingRole):
        ask(place, run.number, name)

    trail.denied(verb="rehearsals.ask", code="missing_role")


def test_another_requester_than_its_own_does_not_have_it_rehearsed() -> None:
    place = make_place()
    other = add_person(place, "dev2", ("requester", ""))
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(access.MissingRole):
        ask(place, run.number, other)


def test_an_outsider_does_not_even_see_the_run() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    with pytest.raises(access.Hidden):
        ask(place, run.number, "outsider")

    assert not Rehearsal.objects.exists()


def test_a_token_asks_within_its_scope_only() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    for scopes in ((), ("read",), ("run",)):
        with pytest.raises(access.MissingScope):
            ask(place, run.number, place.token("dev", *scopes))
    assert ask(place, run.number, place.token("dev", "request")).asked_by_name == "token ci of dev"


@pytest.mark.parametrize("state", ["awaiting_approval", "approved"])
def test_a_plan_is_rehearsed_before_its_start(state: str) -> None:
    place = make_place()

    assert ask(place, make_run(place, state=state).number).state == "waiting"


@pytest.mark.parametrize("state", ["requested", "planning", "queued", "running"])
def test_a_run_in_another_state_is_not_rehearsed(state: str) -> None:
    place = make_place()

    with pytest.raises(moves.StaleRun, match="cannot be rehearsed"):
        ask(place, make_run(place, state=state).number)


def test_a_run_that_nobody_knows_is_not_rehearsed() -> None:
    with pytest.raises(moves.NoSuchRun):
        ask(make_place(), 404)


def test_adopting_a_revision_executes_nothing_to_rehearse() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval", operation=Operation.ADOPT, revision="003")

    with pytest.raises(rehearsals.NotToRehearse, match="nothing to rehearse"):
        ask(place, run.number)


def test_who_asks_twice_learns_that_one_is_under_way() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    ask(place, run.number)

    with pytest.raises(rehearsals.AlreadyRehearsing, match="Wait for what it shows"):
        ask(place, run.number, "operator")

    assert Rehearsal.objects.count() == 1


def test_after_one_has_ended_the_same_plan_is_rehearsed_again() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    first = rehearsed.ended(place, run)

    assert ask(place, run.number).pk != first.pk


def test_it_leaves_an_event_with_the_rehearsal_and_who_asked() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    asked = ask(place, run.number, "operator")

    event = trail.last("run.rehearsal_asked")
    assert (event.actor, event.object_id) == ("operator", str(run.number))
    assert event.facts["facts"]["rehearsal"] == asked.pk


def test_the_environments_workers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, dict[str, Any]]] = []
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    monkeypatch.setattr(dispatch, "after_commit", lambda wake, **values: sent.append((wake, values)))

    asked = ask(place, run.number)

    assert sent == [(dispatch.Wake.REHEARSE, {"queue": "target-production", "rehearsal_id": asked.pk})]


@pytest.mark.parametrize(("demand", "count"), [("on_request", 0), ("inform", 1), ("tried", 1), ("passed", 1)])
def test_a_plan_is_rehearsed_by_itself_where_the_policy_says_so(demand: str, count: int) -> None:
    run = make_run(make_place(rehearsal=demand), state="awaiting_approval")

    assert run.rehearsals.count() == count


def test_adopting_is_not_rehearsed_by_itself_either() -> None:
    place = make_place(rehearsal="passed")
    run = make_run(place, state="awaiting_approval", operation=Operation.ADOPT, revision="003")

    assert not run.rehearsals.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_transactions")
def test_two_who_ask_at_the_same_moment_get_one_rehearsal() -> None:
    place = make_place()
    for _ in range(5):
        run = make_run(place, state="awaiting_approval")

        outcomes = race(
            partial(ask, place, run.number, "dba"),
            partial(ask, place, run.number, "operator"),
            partial(ask, place, run.number, "owner"),
        )

        one_winner(outcomes)
        assert all(
            outcome.error is None or isinstance(outcome.error, rehearsals.AlreadyRehearsing) for outcome in outcomes
        )
        assert run.rehearsals.count() == 1
        runs.withdraw(actor=place.actor("dev"), number=run.number)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_transactions")
def test_of_two_workers_at_the_same_moment_one_takes_it_up() -> None:
    place = make_place()
    for _ in range(5):
        run = make_run(place, state="awaiting_approval")
        asked = ask(place, run.number)

        outcomes = race(*[partial(rehearsals.claim, actor=WORKER, rehearsal_id=asked.pk)] * 3)

        assert [outcome.error for outcome in outcomes] == [None] * 3
        assert len([outcome for outcome in outcomes if outcome.value is not None]) == 1
        runs.withdraw(actor=place.actor("dev"), number=run.number)
