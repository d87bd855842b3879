"""Targets in the registry: references, sealed URLs, and no URL anywhere in clear."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from migrations_audit import sealing
from migrations_audit.actions import registry
from migrations_audit.actions.registry_rights import MayNotRegister
from migrations_audit.actors import Actor
from migrations_audit.models import AuditEvent, Target
from tests import people
from tests.domain import registering, trail
from tests.domain.registering import CANARY, ENVIRONMENT, URL, refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ground(settings: Settings) -> None:
    registering.prepare(settings)


@pytest.fixture
def root() -> Actor:
    return registering.superuser()


def make_target(actor: Actor, place: people.Place, **reference: Any) -> Target:
    """A second target of the place."""
    return registry.save_target(
        actor=actor, project=place.project, environment=place.environment, slug="second", **reference
    )


def test_an_administrator_registers_a_target_by_reference() -> None:
    place = people.make_place()

    target = make_target(place.actor("admin"), place, url_reference=" env:SECOND_URL ")

    assert target.url_reference == "env:SECOND_URL"
    event = trail.last("target.created")
    assert (event.target, event.facts["facts"]["settings"]["url_reference"]) == (target.label, "env:SECOND_URL")


def test_a_new_url_is_sealed_and_in_no_row_in_clear(settings: Settings) -> None:
    place = people.make_place()

    target = make_target(place.actor("admin"), place, new_url=URL)
    registry.save_target(actor=place.actor("admin"), target_id=target.pk, new_url=URL + "2")

    target.refresh_from_db()
    token = target.url_reference.removeprefix("sealed:")
    assert sealing.unseal(token, keys=settings.PORTAL_SEALING_KEYS) == URL + "2"
    bodies = " ".join(AuditEvent.objects.values_list("body", flat=True))
    assert CANARY not in bodies + target.url_reference
    assert token not in bodies
    change = trail.last("target.changed").facts["facts"]["changed"]["url_reference"]
    assert change == {"old": "sealed value", "new": "sealed value changed"}


def test_an_empty_reference_keeps_what_is_stored() -> None:
    place = people.make_place()

    registry.save_target(actor=place.actor("admin"), target_id=place.target.pk, url_reference="")

    place.target.refresh_from_db()
    assert place.target.url_reference == "env:TEST_TARGET_URL"


def test_a_changed_reference_voids_by_its_version_and_tells_both() -> None:
    place = people.make_place()

    target = registry.save_target(actor=place.actor("admin"), target_id=place.target.pk, url_reference="file:/run/url")

    assert target.settings_version == 2
    change = trail.last("target.changed").facts["facts"]["changed"]["url_reference"]
    assert change == {"old": "env:TEST_TARGET_URL", "new": "file:/run/url"}


@pytest.mark.parametrize(
    "pasted", [URL, f"env:{URL}", f"host=db user=u password={CANARY} dbname=x", "postgresql://h/db"]
)
def test_a_url_pasted_as_reference_is_refused_without_repeating_it(pasted: str) -> None:
    place = people.make_place()

    sentence = refused(
        registry.save_target,
        actor=place.actor("admin"),
        target_id=place.target.pk,
        url_reference=pasted,
        field="url_reference",
    )

    assert "New URL" in sentence
    assert CANARY not in sentence


@pytest.mark.parametrize(
    "reference", ["env:1X", "env:DATABASE_URL", "file:relative", "file:/a/../b", "sealed:x", "db1"]
)
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    place = people.make_place()

    refused(make_target, actor=place.actor("admin"), place=place, url_reference=reference, field="url_reference")


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h/db", "mysql+pymysql://u:p@h/db", "mariadb+pymysql://u:p@h/db", "sqlite:////srv/shop.db"]
)
def test_a_url_of_every_engine_is_sealed(settings: Settings, url: str) -> None:
    place = people.make_place()

    made = make_target(actor=place.actor("admin"), place=place, new_url=url)

    assert sealing.unseal(made.url_reference.removeprefix("sealed:"), keys=settings.PORTAL_SEALING_KEYS) == url


@pytest.mark.parametrize(
    "url",
    [
        f"oracle://u:{CANARY}@h/db",
        f"mysql+mysqldb://u:{CANARY}@h/db",
        f"sqlite:///relative/{CANARY}.db",
        f"sqlite:////srv/shop.db?key={CANARY}",
        "sqlite:///:memory:",
        f"postgresql+odd://u:{CANARY}@h/db",
        f"postgresql://u:{CANARY}@/db",
        f"postgresql://u:{CANARY}@h",
        f"postgresql://u:{CANARY}@h/a/b",
        f"postgresql://u:{CANARY}@h:x/db",
        f"postgresql://u:{CANARY}@[::1/db",
        f"postgresql://u:{CANARY}@h1,h2/db",
        f"postgresql://u:{CANARY} x@h/db",
        f"postgresql://u:{CANARY}#x@h/db",
        "postgresql://h/db",
        CANARY,
        f"postgresql://u:{CANARY}@h/{'d' * 1_400}",
    ],
)
def test_a_new_url_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    place = people.make_place()

    sentence = refused(make_target, actor=place.actor("admin"), place=place, new_url=url, field="new_url")

    assert CANARY not in sentence


def test_a_target_needs_one_reference_and_not_two() -> None:
    place = people.make_place()

    refused(make_target, actor=place.actor("admin"), place=place, field="url_reference")
    refused(
        make_target,
        actor=place.actor("admin"),
        place=place,
        url_reference="env:A",
        new_url=URL,
        field="url_reference",
    )


def test_without_a_sealing_key_a_url_is_not_stored_at_all(settings: Settings) -> None:
    settings.PORTAL_SEALING_KEYS = []
    place = people.make_place()

    with pytest.raises(sealing.NoSealingKey):
        make_target(place.actor("admin"), place, new_url=URL)

    assert Target.objects.count() == 1


@pytest.mark.parametrize("name", ["viewer", "dev", "operator", "outsider"])
def test_nobody_but_an_administrator_changes_where_a_target_leads(name: str) -> None:
    place = people.make_place()

    with pytest.raises(MayNotRegister):
        registry.save_target(actor=place.actor(name), target_id=place.target.pk, url_reference="env:OTHER")


def test_a_target_moves_only_between_environments_that_the_person_administers(root: Actor) -> None:
    place = people.make_place()
    other = registry.save_environment(actor=root, **ENVIRONMENT)

    with pytest.raises(MayNotRegister, match="of Staging"):
        registry.save_target(actor=place.actor("admin"), target_id=place.target.pk, environment=other)


def test_a_target_that_was_read_stays(root: Actor) -> None:
    place = people.make_place()
    people.observe(place)

    assert "It stays" in refused(registry.remove_target, registry.HasHistory, actor=root, target_id=place.target.pk)


def test_the_chain_holds_after_all_of_it(root: Actor) -> None:
    place = people.make_place()
    registry.save_environment(actor=root, environment_id=place.environment.pk, deadline_s=1_200)
    make_target(root, place, new_url=URL)

    assert trail.verify().holds
