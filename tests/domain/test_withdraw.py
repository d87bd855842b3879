"""Taking a request back before it starts."""

from __future__ import annotations

import pytest

from migrations_audit import access
from migrations_audit.actions import moves, runs
from migrations_audit.errors import Invalid, NotFound
from tests.domain import trail
from tests.people import add_person, make_place, make_run

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("state", ["requested", "planning", "awaiting_approval", "approved"])
def test_the_requester_withdraws_before_the_start(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    withdrawn = runs.withdraw(actor=place.actor("dev"), number=run.number, comment="Not tonight.")

    assert (withdrawn.state, withdrawn.sentence) == ("withdrawn", "Withdrawn by dev. Not tonight.")
    assert withdrawn.finished_at is not None
    assert trail.last("run.withdrawn").facts["facts"]["comment"] == "Not tonight."


def test_an_administrator_withdraws_for_another() -> None:
    place = make_place()
    run = make_run(place)

    assert runs.withdraw(actor=place.actor("admin"), number=run.number).state == "withdrawn"


@pytest.mark.parametrize("name", ["viewer", "dba", "operator", "auditor"])
def test_nobody_else_withdraws(name: str) -> None:
    place = make_place()
    run = make_run(place)

    with pytest.raises(access.MissingRole):
        runs.withdraw(actor=place.actor(name), number=run.number)

    trail.denied(verb="runs.withdraw", code="missing_role")


def test_another_requester_does_not_withdraw() -> None:
    place = make_place()
    run = make_run(place)

    with pytest.raises(access.MissingRole):
        runs.withdraw(actor=add_person(place, "dev2", ("requester", "")), number=run.number)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_was_started_is_not_withdrawn(state: str) -> None:
    place = make_place()
    run = make_run(place, state=state)

    with pytest.raises(moves.StaleRun, match=f"cannot be withdrawn: it is {state}"):
        runs.withdraw(actor=place.actor("dev"), number=run.number)


def test_a_run_is_not_withdrawn_twice() -> None:
    place = make_place()
    run = make_run(place)
    runs.withdraw(actor=place.actor("dev"), number=run.number)

    with pytest.raises(moves.StaleRun, match=r"it is withdrawn\. Withdrawn by dev\."):
        runs.withdraw(actor=place.actor("dev"), number=run.number)

    assert trail.of_run(run).count("run.withdrawn") == 1


def test_an_outsider_learns_nothing_of_which_runs_there_are() -> None:
    place = make_place()
    run = make_run(place)
    messages = []

    for number in (run.number, run.number + 1):
        with pytest.raises(NotFound) as hidden:
            runs.withdraw(actor=place.actor("outsider"), number=number)
        messages.append(hidden.value.message.replace(str(number), "N"))

    assert messages[0] == messages[1]


def test_a_token_of_the_requester_withdraws_only_within_its_scope() -> None:
    place = make_place()
    run = make_run(place)

    with pytest.raises(access.MissingScope):
        runs.withdraw(actor=place.token("dev", "read"), number=run.number)
    trail.denied(verb="runs.withdraw", code="missing_scope")

    assert runs.withdraw(actor=place.token("dev", "request"), number=run.number).state == "withdrawn"


def test_a_token_of_an_administrator_does_not_withdraw_for_another() -> None:
    place = make_place()

    with pytest.raises(access.MissingScope):
        runs.withdraw(actor=place.token("admin", "request", "run"), number=make_run(place).number)


def test_a_comment_that_cannot_be_stored_is_refused() -> None:
    place = make_place()

    with pytest.raises(Invalid):
        runs.withdraw(actor=place.actor("dev"), number=make_run(place).number, comment="a\ud800b")
