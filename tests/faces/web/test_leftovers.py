"""What a run left half applied, and the engine's own promise, on the pages."""

from __future__ import annotations

import pytest

from migrations_audit.actions import attempts
from migrations_audit.judgement import judge
from migrations_audit.models import MigrationRun
from tests import people
from tests.faces.web.visitor import VisitorOf

pytestmark = pytest.mark.django_db

FILE = {
    **people.IDENTITY,
    "engine": "sqlite",
    "endpoint": {"host": "", "port": 0, "database": "/srv/shop.db", "user": ""},
    "system_identifier": "inode 7",
    "database_oid": 0,
    "database": "/srv/shop.db",
    "user": "",
    "server_address": "",
    "server_port": 0,
    "server_version": "3.40.1",
}


@pytest.fixture
def run(place: people.Place) -> MigrationRun:
    made = people.make_run(place, state="running")
    facts = people.make_facts(rows=("002",), changes=("+ table first: int", "+ table second: int"))
    return attempts.finish(
        actor=people.WORKER,
        number=made.number,
        epoch=made.epoch,
        judgement=judge(facts, people.make_witness(exit_code=1)),
        observation=people.read_back(place, made, revisions=["002"]),
    )


def test_the_page_names_what_differs(run: MigrationRun, visitor: VisitorOf) -> None:
    words = visitor("viewer").run(run).words

    assert "2 catalog objects differ from before: + table first; + table second." in words


def test_an_operator_accepts_it_as_it_is(run: MigrationRun, visitor: VisitorOf) -> None:
    operator = visitor("operator")
    assert "Accept as it is" in operator.run(run).buttons

    operator.press(run, "accept", comment="Compared by hand.")

    page = operator.run(run)
    assert "Accept as it is" not in page.buttons
    assert "Compared by hand." in page.words


def test_without_a_reason_the_page_comes_back_with_the_sentence(run: MigrationRun, visitor: VisitorOf) -> None:
    assert "Say what you looked at" in visitor("operator").press(run, "accept", comment=" ").words


@pytest.mark.parametrize("name", ["dev", "viewer"])
def test_others_see_no_such_button(run: MigrationRun, visitor: VisitorOf, name: str) -> None:
    assert "Accept as it is" not in visitor(name).run(run).buttons


def test_a_target_that_is_a_file_is_shown_as_one(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place, identity=FILE)

    words = visitor("viewer").get(f"/targets/{place.target.pk}/").words

    assert "SQLite, system identifier inode 7" in words
    assert "SQLite 3.40.1" in words
    assert "it cannot roll back DDL" in words
    assert "oid" not in words
    assert "@:0" not in words


def test_a_postgresql_target_says_nothing_of_the_kind(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)

    words = visitor("viewer").get(f"/targets/{place.target.pk}/").words

    assert "PostgreSQL 18.6" in words
    assert "cannot roll back DDL" not in words
