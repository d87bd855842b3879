"""Which database may be enrolled where: identifiers, markers, and what an administrator says of a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from migrations_audit import access
from migrations_audit.actions import attempts, enrolment, runs
from migrations_audit.errors import PortalError
from migrations_audit.models import Observation, Target
from migrations_audit.states import TargetStatus
from tests.domain import trail
from tests.people import IDENTITY, WORKER, Place, make_place, make_run, observe

pytestmark = pytest.mark.django_db

HERE = "db.example:5432/market"
MARKER = {
    "id": "m-1",
    "portal": "portal",
    "target": "market/production/main",
    "endpoint": HERE,
    "written_at": "2026-01-01",
}
CLONE = IDENTITY | {"endpoint": IDENTITY["endpoint"] | {"host": "clone.example"}}
THERE = "clone.example:5432/market"


def facts(marker: dict[str, str] | None, *, address: str = HERE, started_at: str = "2026-01-01T00:00:00Z") -> Any:
    return {"marker": marker, "address": address, "server_started_at": started_at}


def mark(place: Place, observation: Observation, marker: dict[str, str] = MARKER) -> bool:
    """Whether the marker was left."""
    left: list[str] = []

    def leave() -> dict[str, str]:
        left.append(marker["id"])
        return marker

    enrolment.mark(actor=WORKER, target=place.target, observation=observation, is_new=True, leave=leave)
    return bool(left)


@pytest.fixture
def production() -> Place:
    """Enrolled and marked."""
    place = make_place()
    mark(place, observe(place, facts=facts(None)))
    observe(place, facts=facts(MARKER))
    return place


@pytest.fixture
def staging(production: Place) -> Place:
    return make_place(slug="staging", tier="staging", requirements=[], project=production.project)


def accept(place: Place) -> None:
    enrolment.forget_identity(actor=place.actor("admin"), target_id=place.target.pk, reason="Made for tests.")


def refuse_copy(place: Place) -> Observation:
    """What a worker leaves that found the marker of production at the clone's address."""
    return observe(
        place, identity=CLONE, status=TargetStatus.WRONG_DATABASE, error_code="copy", facts=facts(MARKER, address=THERE)
    )


def test_a_marker_is_recorded_with_its_event(production: Place) -> None:
    said = trail.last("target.marked").facts["facts"]

    assert Target.objects.get(pk=production.target.pk).marker == "m-1"
    assert (said["marker"], said["is_new"], said["replaces"]) == (MARKER, True, "")


def test_a_marker_of_an_earlier_enrolment_is_not_recorded() -> None:
    place = make_place()
    read = observe(place)
    worker_s = replace(place, target=Target.objects.select_related("environment", "project").get(pk=place.target.pk))
    accept(place)
    observe(place)

    assert not mark(worker_s, read)

    assert Target.objects.get(pk=place.target.pk).marker == ""


def test_of_two_workers_that_mark_at_once_one_is_recorded() -> None:
    place = make_place()
    read = observe(place)
    late = replace(place, target=Target.objects.select_related("environment", "project").get(pk=place.target.pk))
    assert mark(place, read)

    assert not mark(late, read, MARKER | {"id": "m-2"})

    assert Target.objects.get(pk=place.target.pk).marker == "m-1"


def test_nothing_is_marked_while_a_run_is_live() -> None:
    place = make_place()
    make_run(place, state="running")
    place.target.refresh_from_db()

    assert not mark(place, place.target.observations.first() or observe(place))


def test_a_marker_that_cannot_be_left_is_not_recorded() -> None:
    place = make_place()
    read = observe(place)

    def leave() -> dict[str, str]:
        raise PortalError("The database is busy.")

    with pytest.raises(PortalError):
        enrolment.mark(actor=WORKER, target=place.target, observation=read, is_new=True, leave=leave)

    assert Target.objects.get(pk=place.target.pk).marker == ""


def test_the_same_marker_is_the_same_database(staging: Place) -> None:
    read = observe(staging, facts=facts(MARKER))

    assert (read.status, read.error_code) == (TargetStatus.WRONG_DATABASE, "enrolled_elsewhere")


def test_without_a_marker_the_strict_rule_stays(staging: Place) -> None:
    read = observe(staging, facts=facts(None))

    assert (read.status, read.error_code) == (TargetStatus.WRONG_DATABASE, "enrolled_elsewhere")
    with pytest.raises(enrolment.NotEnrolled):
        accept(staging)


def test_a_copy_with_a_marker_of_its_own_is_enrolled(staging: Place) -> None:
    read = observe(staging, identity=CLONE, facts=facts(MARKER | {"id": "m-2", "endpoint": THERE}, address=THERE))

    assert read.was_read
    assert Target.objects.get(pk=staging.target.pk).identity == CLONE


def test_a_copy_that_is_meant_is_enrolled_with_the_marker_that_was_accepted(staging: Place) -> None:
    refuse_copy(staging)
    accept(staging)

    read = observe(staging, identity=CLONE, facts=facts(MARKER, address=THERE, started_at="2026-02-02T00:00:00Z"))

    stored = Target.objects.get(pk=staging.target.pk)
    assert read.was_read
    assert (stored.identity, stored.marker) == (CLONE, "m-1")
    said = trail.last("target.identity_forgotten").facts["facts"]
    assert (said["identity"], said["marker"], said["reason"]) == (None, MARKER, "Made for tests.")


def test_another_marker_than_the_accepted_one_is_not_enrolled_with_it(staging: Place) -> None:
    refuse_copy(staging)
    accept(staging)

    observe(staging, identity=CLONE, facts=facts(None, address=THERE, started_at="2026-02-02T00:00:00Z"))

    assert Target.objects.get(pk=staging.target.pk).identity is None


def test_the_original_itself_is_not_accepted_as_a_copy(staging: Place) -> None:
    refuse_copy(staging)
    accept(staging)

    read = observe(staging, identity=CLONE, facts=facts(MARKER, address=THERE))

    assert (read.status, read.error_code) == (TargetStatus.WRONG_DATABASE, "enrolled_elsewhere")
    assert Target.objects.get(pk=staging.target.pk).identity is None


def test_in_its_own_environment_the_original_is_told_from_a_copy_too(production: Place) -> None:
    other = Target.objects.create(
        project=production.project, environment=production.environment, slug="other", url_reference="env:X"
    )
    place = replace(production, target=other)
    refuse_copy(place)
    accept(place)

    read = observe(place, identity=CLONE, facts=facts(MARKER, address=THERE))

    assert "itself under another address" in read.sentence


def test_two_projects_share_a_database_of_one_environment(production: Place) -> None:
    other = Target.objects.create(
        project=production.project, environment=production.environment, slug="other", url_reference="env:X"
    )

    read = observe(replace(production, target=other), facts=facts(MARKER))

    assert read.was_read


def test_a_copy_is_not_accepted_by_anybody_else(staging: Place) -> None:
    refuse_copy(staging)

    for name in ("dev", "operator", "dba"):
        with pytest.raises(access.MissingRole):
            enrolment.forget_identity(actor=staging.actor(name), target_id=staging.target.pk, reason="I say so.")


def test_an_approved_run_is_void_when_its_database_was_given_up() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    assert run.plan is not None
    accept(place)
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)

    claimed = attempts.claim(actor=WORKER, number=run.number)

    assert (claimed.state, claimed.reason_code) == ("void", "identity_changed")
    assert "was given up after the approval" in claimed.sentence


def test_a_reading_that_could_not_be_enrolled_is_kept_as_it_was(staging: Place) -> None:
    read = observe(staging, facts=facts(MARKER))

    stored = Observation.objects.get(pk=read.pk)
    assert stored.facts["marker"] == MARKER
    assert stored.identity == IDENTITY
