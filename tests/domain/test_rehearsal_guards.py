"""A rehearsal that has ended, and what it found of each revision, are records: the database refuses every change."""

from __future__ import annotations

import pytest

from migrations_audit.actions import rehearsals
from migrations_audit.models import Rehearsal
from tests.domain import raw, rehearsed
from tests.domain.conftest import switch_truncate_triggers
from tests.people import Place, make_place, make_run

pytestmark = pytest.mark.django_db

TABLES = ["migrations_audit_rehearsal", "migrations_audit_revisiondelta"]


@pytest.fixture
def place() -> Place:
    return make_place()


@pytest.fixture
def ended(place: Place) -> Rehearsal:
    return rehearsed.ended(place, make_run(place, state="awaiting_approval"))


@pytest.mark.parametrize(
    "change", ["outcome = 'failed'", "delta = '[]'", "grade = 'exact'", "state = 'running'", "epoch = 9"]
)
@pytest.mark.usefixtures("ended")
def test_what_was_seen_is_not_changed(change: str) -> None:
    with raw.refused(match="has ended or belongs to another plan"):
        raw.execute(f"UPDATE migrations_audit_rehearsal SET {change}")


@pytest.mark.usefixtures("ended")
def test_a_delta_is_not_changed() -> None:
    with raw.refused(match="UPDATE on migrations_audit_revisiondelta is refused"):
        raw.execute("UPDATE migrations_audit_revisiondelta SET changes = '[]'")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.usefixtures("ended")
def test_neither_is_deleted(table: str) -> None:
    with raw.refused(match=f"DELETE on {table} is refused"):
        raw.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.usefixtures("ended")
def test_neither_is_emptied(table: str) -> None:
    raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
    switch_truncate_triggers(on=True)

    with raw.refused(match="TRUNCATE on .* is refused"):
        raw.execute(f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize("change", ["asked_by_name = 'x'", "asked_at = now() - interval '1 day'", "epoch = epoch - 1"])
def test_who_asked_and_whose_turn_it_is_are_not_changed(place: Place, change: str) -> None:
    rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    with raw.refused(match="does not change"):
        raw.execute(f"UPDATE migrations_audit_rehearsal SET {change}")


def test_one_that_waits_is_not_deleted_either(place: Place) -> None:
    rehearsals.ask(actor=place.actor("dba"), number=make_run(place, state="awaiting_approval").number)

    with raw.refused(match="DELETE on"):
        raw.execute("DELETE FROM migrations_audit_rehearsal")


def test_a_second_open_one_of_a_run_is_refused(place: Place) -> None:
    run = make_run(place, state="awaiting_approval")
    taken = rehearsed.claimed(place, run)

    with raw.refused(match="one_open_rehearsal_per_run"):
        Rehearsal.objects.create(run=run, plan=taken.plan, asked_by_name="x", asked_at=taken.asked_at)


@pytest.mark.parametrize("change", ["state = 'ended'", "state = 'ended', ended_at = now()", "outcome = 'passed'"])
def test_an_end_without_an_outcome_and_an_outcome_without_an_end_are_refused(place: Place, change: str) -> None:
    rehearsed.claimed(place, make_run(place, state="awaiting_approval"))

    with raw.refused(match="an_ended_rehearsal_has_its_outcome"):
        raw.execute(f"UPDATE migrations_audit_rehearsal SET {change}")


def test_it_does_not_move_to_another_run(place: Place) -> None:
    taken = rehearsed.claimed(place, make_run(place, state="awaiting_approval"))
    other = make_run(place, state="awaiting_approval", revision="003")

    with raw.refused(match="belongs to another plan"):
        raw.execute("UPDATE migrations_audit_rehearsal SET run_id = %s WHERE id = %s", other.number, taken.pk)
