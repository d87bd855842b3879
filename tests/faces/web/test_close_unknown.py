"""Closing a run of unknown outcome from its page."""

from __future__ import annotations

import pytest

from migrations_audit.actions import attempts
from migrations_audit.judgement import Judgement
from migrations_audit.models import MigrationRun
from migrations_audit.states import RunState, Verdict
from tests import people
from tests.faces.web.visitor import VisitorOf

pytestmark = pytest.mark.django_db

UNREAD = Judgement(RunState.OUTCOME_UNKNOWN, Verdict.UNVERIFIED, "target_not_reached", "Nobody answers at db.example.")


@pytest.fixture
def run(place: people.Place) -> MigrationRun:
    made = people.make_run(place, state="running")
    attempts.finish(actor=people.WORKER, number=made.number, epoch=made.epoch, judgement=UNREAD, observation=None)
    made.refresh_from_db()
    return made


def test_an_administrator_closes_it_and_the_page_says_that_nobody_knows(run: MigrationRun, visitor: VisitorOf) -> None:
    admin = visitor("admin")
    assert "Close, outcome unknown" in admin.run(run).buttons

    admin.press(run, "close", comment="The server was scrapped.")

    page = admin.run(run)
    assert "closed, outcome unknown" in page.words
    assert "Closed by admin with its outcome unknown: The server was scrapped." in page.words
    assert "Close, outcome unknown" not in page.buttons


def test_without_a_reason_the_page_comes_back_with_the_sentence(run: MigrationRun, visitor: VisitorOf) -> None:
    answer = visitor("admin").press(run, "close", comment=" ")

    assert "Say why the outcome cannot be found out any more." in answer.words
    run.refresh_from_db()
    assert run.state == "outcome_unknown"


@pytest.mark.parametrize("name", ["operator", "viewer"])
def test_others_see_no_such_button(run: MigrationRun, visitor: VisitorOf, name: str) -> None:
    assert "Close, outcome unknown" not in visitor(name).run(run).buttons
