"""What a run left half applied is not built upon before somebody accepted it as it is."""

from __future__ import annotations

import pytest

from migrations_audit import access, hashchain
from migrations_audit.actions import attempts, leftovers
from migrations_audit.errors import Invalid
from migrations_audit.judgement import judge
from migrations_audit.models import MigrationRun
from migrations_audit.queries import leftovers as left
from tests import people
from tests.domain import trail
from tests.people import WORKER, Place, make_place, make_run

pytestmark = pytest.mark.django_db

AFTER = hashchain.digest("after")


@pytest.fixture
def place() -> Place:
    return make_place()


def failed(
    place: Place, *, rows: list[str], transactional: bool = True, changes: tuple[str, ...] = ("+ table a",)
) -> MigrationRun:
    """A run from 002 that failed with these rows and the catalog AFTER."""
    run = make_run(place, state="running")
    facts = people.make_facts(
        result=("004",), steps=("003", "004"), rows=tuple(rows), changes=changes, all_transactional=transactional
    )
    return attempts.finish(
        actor=WORKER,
        number=run.number,
        epoch=run.epoch,
        judgement=judge(facts, people.make_witness(exit_code=1)),
        observation=people.read_back(place, run, revisions=rows),
    )


def test_what_was_left_is_found_by_rows_and_catalog(place: Place) -> None:
    run = failed(place, rows=["002"])

    found = left.of_reading(place.target, rows=["002"], fingerprint=AFTER, kinds="")

    assert run.reason_code == "partly_applied"
    assert found == run
    assert left.of_newest_reading(place.target) == run


@pytest.mark.parametrize(("rows", "fingerprint"), [(["003"], AFTER), (["002"], hashchain.digest("repaired"))])
def test_a_target_that_was_changed_since_is_free(place: Place, rows: list[str], fingerprint: str) -> None:
    failed(place, rows=["002"])

    assert left.of_reading(place.target, rows=rows, fingerprint=fingerprint, kinds="") is None


def test_a_portal_that_compares_other_kinds_of_objects_does_not_take_that_for_a_repair(place: Place) -> None:
    run = failed(place, rows=["002"])

    assert left.of_reading(place.target, rows=["002"], fingerprint=hashchain.digest("more"), kinds="others") == run
    assert left.of_reading(place.target, rows=["003"], fingerprint=hashchain.digest("more"), kinds="others") is None


def test_what_nobody_can_compare_is_found_too(place: Place) -> None:
    run = failed(place, rows=["002"], transactional=False, changes=())

    assert run.reason_code == "possibly_partly_applied"
    assert left.of_newest_reading(place.target) == run


def test_a_run_that_ended_between_two_whole_revisions_left_nothing_half(place: Place) -> None:
    run = failed(place, rows=["003"])

    assert run.reason_code == "partly_applied"
    assert left.of_newest_reading(place.target) is None


@pytest.mark.parametrize("name", ["operator", "admin"])
def test_an_operator_or_an_administrator_accepts_it_with_a_reason(place: Place, name: str) -> None:
    run = failed(place, rows=["002"])

    leftovers.accept(actor=place.actor(name), number=run.number, reason="Compared by hand.")

    place.target.refresh_from_db()
    assert place.target.leftovers_accepted_of == run.number
    assert left.of_newest_reading(place.target) is None
    assert trail.last("run.leftovers_accepted").facts["facts"]["reason"] == "Compared by hand."


@pytest.mark.parametrize("name", ["dev", "viewer", "auditor"])
def test_others_may_not(place: Place, name: str) -> None:
    run = failed(place, rows=["002"])

    with pytest.raises(access.MissingRole):
        leftovers.accept(actor=place.actor(name), number=run.number, reason="Fine.")

    trail.denied(verb="leftovers.accept", code="missing_role")


def test_a_token_may_not(place: Place) -> None:
    run = failed(place, rows=["002"])

    with pytest.raises(access.MissingScope):
        leftovers.accept(actor=place.token("operator", "run", "request"), number=run.number, reason="Fine.")


@pytest.mark.parametrize("reason", ["", " \n"])
def test_without_a_reason_nothing_is_accepted(place: Place, reason: str) -> None:
    run = failed(place, rows=["002"])

    with pytest.raises(Invalid, match="Say what you looked at"):
        leftovers.accept(actor=place.actor("operator"), number=run.number, reason=reason)

    assert left.of_newest_reading(place.target) == run


def test_it_is_accepted_once(place: Place) -> None:
    run = failed(place, rows=["002"])
    leftovers.accept(actor=place.actor("operator"), number=run.number, reason="Fine.")

    with pytest.raises(leftovers.NothingLeft):
        leftovers.accept(actor=place.actor("operator"), number=run.number, reason="Fine.")


def test_a_run_that_left_nothing_has_nothing_to_accept(place: Place) -> None:
    run = people.finish(place, make_run(place, state="running"))

    with pytest.raises(leftovers.NothingLeft):
        leftovers.accept(actor=place.actor("operator"), number=run.number, reason="Fine.")
