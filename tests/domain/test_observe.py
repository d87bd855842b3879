"""Observations: asking for one, storing it, enrolling an identity with the first and giving it up on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import access, dispatch
from migrations_audit.actions import enrolment, evidence
from migrations_audit.errors import Invalid
from migrations_audit.models import Catalog, Observation, Snapshot
from migrations_audit.models.clock import database_now
from migrations_audit.states import TargetStatus
from tests.domain import trail
from tests.people import IDENTITY, WORKER, Place, make_place, make_run, make_snapshot, observe

pytestmark = pytest.mark.django_db

Sent = list[tuple[dispatch.Wake, dict[str, Any]]]
CLONE = IDENTITY | {"system_identifier": "7300000000000000002"}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    messages: Sent = []
    monkeypatch.setattr(dispatch, "after_commit", lambda wake, **values: messages.append((wake, values)))
    return messages


def unreachable(place: Place) -> Observation:
    return observe(
        place,
        status=TargetStatus.UNREACHABLE,
        identity=None,
        catalog=None,
        error_code="connection_refused",
    )


@pytest.mark.parametrize("name", ["viewer", "dev", "dba", "operator", "auditor", "admin"])
def test_anyone_who_sees_the_target_has_it_checked(sent: Sent, name: str) -> None:
    place = make_place()

    evidence.request_observation(actor=place.actor(name), target_id=place.target.pk)

    assert sent == [(dispatch.Wake.OBSERVE, {"queue": "target-production", "target_id": place.target.pk})]
    assert (trail.last("target.check_requested").actor, trail.last("target.check_requested").target) == (
        name, "market/production/main"
    )  # fmt: skip


def test_an_outsider_has_nothing_checked(sent: Sent) -> None:
    place = make_place()

    for target_id in (place.target.pk, 404):
        with pytest.raises(access.Hidden):
            evidence.request_observation(actor=place.actor("outsider"), target_id=target_id)

    assert sent == []
    trail.denied(verb="evidence.request_observation", code="not_found")


def test_a_token_has_it_checked_only_within_its_scope(sent: Sent) -> None:
    place = make_place()

    with pytest.raises(access.MissingScope):
        evidence.request_observation(actor=place.token("viewer", "run"), target_id=place.target.pk)

    evidence.request_observation(actor=place.token("viewer", "read"), target_id=place.target.pk)
    assert len(sent) == 1


def test_a_reading_is_stored_with_its_reader_and_the_clock_of_the_database() -> None:
    place = make_place()
    before = database_now()

    reading = observe(place)

    assert before < reading.at < database_now()
    assert (reading.reader, reading.status, reading.revisions) == (WORKER.name, "behind", ["002"])
    facts = trail.last("target.observed").facts["facts"]
    assert (facts["observation"], facts["revisions"], facts["catalog"]) == (reading.pk, ["002"], reading.catalog_id)


def test_what_could_not_be_read_is_stored_too() -> None:
    place = make_place()

    reading = unreachable(place)

    assert (reading.was_read, reading.identity, reading.error_code) == (False, None, "connection_refused")
    assert trail.last("target.observed").facts["facts"]["status"] == "unreachable"


def test_the_first_reading_that_names_a_database_enrols_it() -> None:
    place = make_place()
    unreachable(place)
    place.target.refresh_from_db()
    assert place.target.identity is None

    reading = observe(place)

    place.target.refresh_from_db()
    assert place.target.identity == IDENTITY
    assert place.target.enrolled_at == reading.at
    assert (
        trail.last("target.enrolled").facts["facts"]["identity"]["system_identifier"] == IDENTITY["system_identifier"]
    )


def test_a_later_reading_does_not_enrol_again() -> None:
    place = make_place()
    observe(place)

    observe(place, identity=CLONE, status=TargetStatus.WRONG_DATABASE)
    observe(place, identity=CLONE)

    place.target.refresh_from_db()
    assert place.target.identity == IDENTITY
    assert trail.last("target.enrolled").seq < trail.head()


def test_a_wrong_database_is_never_enrolled() -> None:
    place = make_place()

    reading = observe(place, identity=CLONE, status=TargetStatus.WRONG_DATABASE)

    place.target.refresh_from_db()
    assert (place.target.identity, reading.was_read) == (None, False)


def test_a_catalog_is_stored_once() -> None:
    place = make_place()

    first, second = observe(place), observe(place)

    assert first.catalog_id == second.catalog_id
    assert Catalog.objects.count() == 1


def test_a_snapshot_is_stored_once_for_each_project() -> None:
    place = make_place()
    elsewhere = make_place(slug="staging", tier="staging", project=place.project)

    first, second = make_snapshot(place.project), make_snapshot(elsewhere.project)

    assert first == second
    assert Snapshot.objects.count() == 1
    assert trail.last("snapshot.frozen").facts["facts"] == {"project": "market", "files": 1, "heads": ["003"]}


def test_an_administrator_gives_the_identity_up_and_the_next_reading_enrols_anew(sent: Sent) -> None:
    place = make_place()
    observe(place)

    enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason=" Restored on a new host. ")

    place.target.refresh_from_db()
    assert (place.target.identity, place.target.enrolled_at) == (None, None)
    facts = trail.last("target.identity_forgotten").facts["facts"]
    assert (facts["reason"], facts["identity"]) == ("Restored on a new host.", IDENTITY)
    assert sent[-1][0] is dispatch.Wake.OBSERVE
    observe(place, identity=CLONE)
    place.target.refresh_from_db()
    assert place.target.identity == CLONE


def test_an_identity_is_given_up_once() -> None:
    place = make_place()
    observe(place)
    enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason="Moved.")

    with pytest.raises(enrolment.NotEnrolled, match="has no enrolled identity"):
        enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason="Moved.")


@pytest.mark.parametrize("name", ["viewer", "dev", "dba", "operator", "auditor"])
def test_nobody_else_gives_an_identity_up(name: str) -> None:
    place = make_place()
    observe(place)

    with pytest.raises(access.MissingRole):
        enrolment.forget_identity(actor=place.actor(name), target_id=place.target.pk, reason="Moved.")

    place.target.refresh_from_db()
    assert place.target.identity == IDENTITY
    trail.denied(verb="enrolment.forget_identity", code="missing_role")


def test_a_token_of_an_administrator_does_not_give_an_identity_up() -> None:
    place = make_place()
    observe(place)

    with pytest.raises(access.MissingScope):
        enrolment.forget_identity(
            actor=place.token("admin", "read", "request", "run"), target_id=place.target.pk, reason="Moved."
        )


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2_001, "a\ud800b"])
def test_an_identity_is_given_up_for_a_reason(reason: str) -> None:
    place = make_place()
    observe(place)

    with pytest.raises(Invalid):
        enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason=reason)


def test_a_database_of_another_environment_is_not_enrolled_a_second_time(sent: Sent) -> None:
    production = make_place()
    development = make_place(slug="development", tier="development", requirements=[], project=production.project)
    observe(production)

    observation = observe(development)

    assert (observation.status, observation.error_code) == (TargetStatus.WRONG_DATABASE, "enrolled_elsewhere")
    assert "market/production/main" in observation.sentence
    development.target.refresh_from_db()
    assert development.target.identity is None


def test_the_identity_is_not_given_up_while_a_run_is_live(sent: Sent) -> None:
    place = make_place()
    make_run(place, state="running")

    with pytest.raises(enrolment.RunIsLive):
        enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason="Replaced.")
