"""Withdraw, on the run page."""

from __future__ import annotations

import pytest

from migrations_audit.models import MigrationRun
from tests import people
from tests.faces.web.visitor import VisitorOf


@pytest.mark.parametrize("who", ["dev", "admin"])
def test_the_requester_and_an_administrator_may(place: people.Place, visitor: VisitorOf, who: str) -> None:
    run = people.make_run(place, state="awaiting_approval")
    person = visitor(who)

    assert "Withdraw" in person.run(run).buttons
    person.press(run, "withdraw", comment="Asked twice.")

    assert f"Withdrawn by {who}. Asked twice." in person.run(run).words


def test_others_see_no_button_and_are_refused(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="awaiting_approval")
    operator = visitor("operator")

    assert "Withdraw" not in operator.run(run).buttons
    assert operator.press(run, "withdraw").status == 403


def test_a_queued_run_is_not_withdrawn(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place, state="queued")
    dev = visitor("dev")

    assert "Withdraw" not in dev.run(run).buttons
    dev.press(run, "withdraw")

    assert "cannot be withdrawn: it is queued" in dev.said()


def test_twice_is_told_and_changes_nothing(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place)
    dev = visitor("dev")
    dev.press(run, "withdraw", comment="First.")

    dev.press(run, "withdraw", comment="Second.")

    assert MigrationRun.objects.get(number=run.number).sentence == "Withdrawn by dev. First."


def test_a_comment_that_is_too_long_is_not_lost(place: people.Place, visitor: VisitorOf) -> None:
    run = people.make_run(place)

    answer = visitor("dev").press(run, "withdraw", comment="words " * 400)

    assert answer.status == 400
    assert "The comment is longer than" in answer.words
    assert "words words words" in answer.source
