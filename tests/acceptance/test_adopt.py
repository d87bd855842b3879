"""A database that create_all made is brought under control by an approved stamp, and its catalog is compared."""

from __future__ import annotations

import psycopg
import pytest

from migrations_audit.models import MigrationRun
from migrations_audit.states import Operation
from tests import people
from tests.acceptance.portal import Portal
from tests.acceptance.test_upgrades import outcomes, tables
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

CHAIN = runnable.chain("users", "orders")
REFERENCE_CHECK = "catalog of another target at this revision"


@pytest.fixture
def made_elsewhere(make_target_database: MakeTargetDatabase) -> str:
    """A database with the tables of the chain, made as an application makes them."""
    url = make_target_database("made")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE users (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return url


def adopted(portal: Portal, place: people.Place, revision: str = "head") -> MigrationRun:
    return portal.ended(place, revision=revision, operation=Operation.ADOPT)


def test_it_is_noted_at_the_revision_and_nothing_else_changes(portal: Portal, made_elsewhere: str) -> None:
    place = portal.place(made_elsewhere, CHAIN)

    run = adopted(portal, place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.plan is not None
    assert (run.plan.from_revisions, run.plan.to_revisions) == ([], ["r2"])
    assert [finding["code"] for finding in run.plan.findings if finding["code"].startswith("adopt")] == [
        "adopts", "adopts_unseen"
    ]  # fmt: skip
    assert tables(made_elsewhere) == {"users", "orders", "alembic_version"}
    assert outcomes(run.number)["catalog difference"] == "passed"
    assert outcomes(run.number)[REFERENCE_CHECK] == "warning"


def test_what_differs_from_another_database_at_that_revision_is_said_before_and_after(
    portal: Portal, made_elsewhere: str, make_target_database: MakeTargetDatabase
) -> None:
    staging = portal.place(make_target_database("staging"), CHAIN)
    assert portal.ended(staging).verdict == "verified"
    with psycopg.connect(made_elsewhere) as connection:
        connection.execute("ALTER TABLE orders ADD COLUMN by_hand text")
    place = portal.register_again(staging, made_elsewhere)

    run = adopted(portal, place)

    assert run.plan is not None
    (told,) = [finding for finding in run.plan.findings if finding["code"] == "adopts_different"]
    assert "+ column public.orders.by_hand" in told["sentence"]
    assert run.verdict == "verified", run.sentence
    check = run.evidence.get(check_name=REFERENCE_CHECK)
    assert (check.outcome, check.detail) == ("warning", ["+ column public.orders.by_hand: text"])


def test_a_database_at_a_revision_is_not_adopted(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    place = portal.place(make_target_database("noted"), CHAIN)
    first = portal.ended(place, revision="r1")
    assert first.verdict == "verified", first.sentence

    run = portal.planned(place, operation=Operation.ADOPT)

    assert (run.state, run.reason_code) == ("plan_failed", "already_noted")


def test_an_empty_database_is_not_adopted(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    place = portal.place(make_target_database("empty"), CHAIN)

    run = portal.planned(place, operation=Operation.ADOPT)

    assert (run.state, run.reason_code) == ("plan_failed", "nothing_to_adopt")
