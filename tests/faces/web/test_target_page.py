"""The target page: the claim with its proof, and what can be asked for there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from migrations_audit.models import Observation
from migrations_audit.models.clock import database_now
from migrations_audit.states import TargetStatus
from tests import people
from tests.faces.web.visitor import VisitorOf


def path(place: people.Place) -> str:
    return f"/targets/{place.target.pk}/"


def test_the_claim_names_reading_reader_route_and_what_is_pending(place: people.Place, visitor: VisitorOf) -> None:
    read = people.observe(place)

    page = visitor("viewer").get(path(place))

    assert f"Read at {read.at:%Y-%m-%d %H:%M:%S} UTC" in page.words
    assert "by worker@test over migrator@db.example:5432/market :" in page.words
    assert "market/production/main is at 002 ; 1 revision is pending, first 003 ." in page.words
    assert "003 add phase 3 enhancements" in page.words


def test_every_fact_of_the_identity_is_shown(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)

    words = visitor("viewer").get(path(place)).words

    for fact in ("7300000000000000001", "16384", "PostgreSQL 18.6", "10.0.0.7:5432", "not in recovery", "enrolled"):
        assert fact in words


def test_a_target_that_was_never_read_says_so_and_what_to_do(place: people.Place, visitor: VisitorOf) -> None:
    words = visitor("viewer").get(path(place)).words

    assert "This target has never been read, so nothing is known about it. Press Check now" in words
    assert "in sync" not in words


def test_a_reading_that_is_too_old_says_nothing_about_now(place: people.Place, visitor: VisitorOf) -> None:
    fresh = people.observe(place, revisions=["003"], status=TargetStatus.IN_SYNC, pending=[])
    old_at = database_now() - timedelta(days=2)
    Observation.objects.create(
        target=place.target, at=old_at, reader="worker@old", purpose="check", status="in_sync", sentence="in sync",
        identity=people.IDENTITY, revisions=["003"],
    )  # fmt: skip
    place.environment.fresh_for_s = 0
    place.environment.save(update_fields=["fresh_for_s"])

    words = visitor("viewer").get(path(place)).words

    assert fresh.at > old_at
    assert "stale: was in sync" in words
    assert "so it says nothing about now" in words


def test_an_unreachable_target_shows_the_reason_and_the_last_time_it_answered(
    place: people.Place, visitor: VisitorOf
) -> None:
    people.observe(place)
    people.observe(
        place, status=TargetStatus.UNREACHABLE, identity=None, revisions=[], heads=[], pending=[], catalog=None
    )

    words = visitor("viewer").get(path(place)).words

    assert "unreachable" in words
    assert "Tried at" in words
    assert "; not read." in words
    assert "Read at" not in words
    assert "The last reading that reached the enrolled database was at" in words
    assert "It says nothing about now." in words


def test_only_those_who_may_see_the_forms(place: people.Place, visitor: VisitorOf) -> None:
    people.observe(place)

    assert visitor("viewer").get(path(place)).buttons == {"Check now"}
    assert visitor("admin").get(path(place)).buttons == {"Check now", "Forget identity"}
    assert "Plan upgrade" in visitor("dev").get(path(place)).buttons


def test_a_hidden_target_answers_like_a_missing_one(place: people.Place, visitor: VisitorOf) -> None:
    outsider = visitor("outsider")

    hidden, missing = outsider.get(path(place)), outsider.get("/targets/999999/")

    assert (hidden.status, missing.status) == (404, 404)
    assert hidden.words == missing.words


def test_readings_are_paged(place: people.Place, visitor: VisitorOf) -> None:
    for _ in range(12):
        people.observe(place)
    viewer = visitor("viewer")

    first, second = viewer.get(path(place)), viewer.get(f"{path(place)}?observations=2")

    assert "Page 1 of 2" in first.words
    assert "Page 2 of 2" in second.words
    assert viewer.get(f"{path(place)}?observations=nonsense&runs=-4").status == 200


def test_history_does_not_cost_more_queries(
    place: people.Place, visitor: VisitorOf, django_assert_max_num_queries: object
) -> None:
    people.make_run(place, state="awaiting_approval")
    for _ in range(30):
        people.observe(place)
    viewer = visitor("viewer")

    with django_assert_max_num_queries(25):  # type: ignore[operator]  # the fixture has no public type
        viewer.get(path(place))


@pytest.mark.parametrize("status", [each for each in TargetStatus if each is not TargetStatus.IN_SYNC])
def test_nothing_but_a_fresh_reading_in_sync_looks_good(
    place: people.Place, visitor: VisitorOf, status: TargetStatus
) -> None:
    people.observe(place, status=status)

    assert 'class="chip good"' not in visitor("viewer").get(path(place)).source
