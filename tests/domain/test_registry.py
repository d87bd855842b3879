"""Environments and memberships in the registry: what is accepted, who may, what the audit is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from pytest_django import Settings

from migrations_audit.access import MissingScope
from migrations_audit.actions import registry
from migrations_audit.actions.registry_entries import ChangedMeanwhile
from migrations_audit.actions.registry_rights import MayNotRegister
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.models import Membership, Role, Tier
from tests import people
from tests.domain import registering, trail
from tests.domain.registering import ENVIRONMENT, refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ground(settings: Settings) -> None:
    registering.prepare(settings)


@pytest.fixture
def root() -> Actor:
    return registering.superuser()


def test_a_superuser_creates_an_environment_and_the_audit_tells_its_settings(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)

    event = trail.last("environment.created")
    assert (event.environment, event.object_id) == ("staging", "staging")
    assert event.facts["facts"]["settings"]["requirements"] == environment.requirements
    assert environment.settings_version == 1


def test_a_change_tells_old_and_new_and_counts_the_version(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)

    changed = registry.save_environment(actor=root, environment_id=environment.pk, lock_timeout_ms=500, name="Staging")

    assert changed.settings_version == 2
    assert trail.last("environment.changed").facts["facts"] == {
        "changed": {"lock_timeout_ms": {"old": 1000, "new": 500}}
    }


def test_a_change_of_nothing_leaves_neither_event_nor_version(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)
    before = trail.head()

    same = registry.save_environment(actor=root, environment_id=environment.pk, **ENVIRONMENT)

    assert (same.settings_version, trail.head()) == (1, before)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("tier", Tier.PRODUCTION, "at least one approval requirement"),
        ("slug", "Staging", "lower-case"),
        ("slug", "-staging", "lower-case"),
        ("queue", "target production", "lower-case letters"),
        ("queue", "a,b", "lower-case letters"),
        ("requirements", [{"role": "owner", "count": 0}], "from 1 to 10"),
        ("requirements", [{"role": "owner\u0301x", "count": 1}], "lower case"),
        ("requirements", [{"role": "a" * 61, "count": 1}], "at most 60"),
        ("requirements", "owner", "list"),
        ("fresh_for_s", 300, "stale between two observations"),
        ("lock_timeout_ms", 900_000, ""),
        ("lock_budget_s", 3_600, "shorter than the run's deadline"),
        ("name", "Pro\u202eduction", "printable"),
        ("name", "Staging\nINFO forged", "printable"),
        ("observe_every_s", 1, "greater than or equal to 10"),
    ],
)
def test_an_environment_that_cannot_work_is_refused_with_a_sentence(
    root: Actor, field: str, value: object, words: str
) -> None:
    values = ENVIRONMENT | {"requirements": []} | {field: value}

    named = "requirements" if field == "tier" else field
    assert words in refused(registry.save_environment, actor=root, field=named, **values)


def test_an_unknown_name_is_refused_and_not_ignored(root: Actor) -> None:
    sentence = refused(registry.save_environment, actor=root, settings_version=99, **ENVIRONMENT)

    assert "settings_version is not a field" in sentence


def test_a_page_that_is_no_longer_true_stores_nothing(root: Actor) -> None:
    environment = registry.save_environment(actor=root, **ENVIRONMENT)
    registry.save_environment(actor=root, environment_id=environment.pk, seen_version=1, deadline_s=600)

    sentence = refused(
        registry.save_environment,
        ChangedMeanwhile,
        actor=root,
        environment_id=environment.pk,
        seen_version=1,
        deadline_s=900,
    )

    assert "Reload" in sentence
    environment.refresh_from_db()
    assert environment.deadline_s == 600


@pytest.mark.parametrize("name", ["viewer", "dev", "admin", "outsider"])
def test_nobody_without_the_permission_changes_a_policy(name: str) -> None:
    place = people.make_place()

    with pytest.raises(MayNotRegister, match="may not change environments"):
        registry.save_environment(
            actor=place.actor(name), environment_id=place.environment.pk, requirements=[{"role": "owner", "count": 1}]
        )

    trail.denied(verb="registry.save_environment", code="may_not_register")


def test_the_permission_of_djangos_is_enough_to_change_and_not_to_remove() -> None:
    place = people.make_place()
    place.people["viewer"].user_permissions.add(Permission.objects.get(codename="change_environment"))

    registry.save_environment(actor=place.actor("viewer"), environment_id=place.environment.pk, name="Prod")

    with pytest.raises(MayNotRegister):
        registry.remove_environment(actor=place.actor("viewer"), environment_id=place.environment.pk)


def test_a_token_never_changes_the_registry(root: Actor) -> None:
    token = Actor(kind=ActorKind.TOKEN, name="root's token", user_id=root.user_id, scopes=frozenset({"request", "run"}))

    with pytest.raises(MissingScope):
        registry.save_environment(actor=token, **ENVIRONMENT)


def test_the_short_name_is_fixed_once_a_target_was_read(root: Actor) -> None:
    place = people.make_place()
    registry.save_environment(actor=root, environment_id=place.environment.pk, slug="prod")
    people.observe(place)

    for act, key, pk in (
        (registry.save_environment, "environment_id", place.environment.pk),
        (registry.save_project, "project_id", place.project.pk),
        (registry.save_target, "target_id", place.target.pk),
    ):
        changed: dict[str, Any] = {key: pk, "slug": "renamed"}
        sentence = refused(act, registry.HasHistory, actor=root, **changed)
        assert "not change any more" in sentence


def test_an_environment_with_targets_stays_and_one_without_goes_with_its_memberships(root: Actor) -> None:
    place = people.make_place()
    assert "1 target." in refused(
        registry.remove_environment, registry.InUse, actor=root, environment_id=place.environment.pk
    )
    registry.remove_target(actor=root, target_id=place.target.pk)

    registry.remove_environment(actor=root, environment_id=place.environment.pk)

    assert "production dba is approver" in json.dumps(trail.last("environment.removed").facts)
    assert not Membership.objects.exists()


def test_an_administrator_gives_and_takes_roles_in_the_own_environment_only(root: Actor) -> None:
    place = people.make_place()
    other = registry.save_environment(actor=root, **ENVIRONMENT)
    group = Group.objects.create(name="night shift")
    values: dict[str, Any] = {"group": group, "role": Role.OPERATOR, "approver_role": ""}

    membership = registry.save_membership(actor=place.actor("admin"), environment=place.environment, **values)
    with pytest.raises(MayNotRegister, match="of Staging"):
        registry.save_membership(actor=place.actor("admin"), environment=other, **values)
    registry.remove_membership(actor=place.actor("admin"), membership_id=membership.pk)

    assert trail.last("membership.created").facts["facts"]["sentence"] == "night shift is operator in Production"
    assert trail.last("membership.removed").environment == "production"


@pytest.mark.parametrize(
    ("role", "approver_role", "words"),
    [
        (Role.APPROVER, "", "lower case"),
        (Role.APPROVER, "Owner!", "lower case"),
        (Role.VIEWER, "owner", "Only an approver"),
        ("king", "", "not a valid choice"),
    ],
)
def test_a_membership_that_means_nothing_is_refused(root: Actor, role: str, approver_role: str, words: str) -> None:
    place = people.make_place()
    group = Group.objects.create(name="night shift")

    sentence = refused(
        registry.save_membership,
        actor=root,
        environment=place.environment,
        group=group,
        role=role,
        approver_role=approver_role,
    )

    assert words in sentence


def test_a_membership_never_moves_to_another_environment_and_is_never_doubled(root: Actor) -> None:
    place = people.make_place()
    other = registry.save_environment(actor=root, **ENVIRONMENT)
    membership = Membership.objects.filter(role=Role.VIEWER).get()

    refused(registry.save_membership, actor=root, membership_id=membership.pk, environment=other, field="environment")
    double: dict[str, Any] = {"environment": place.environment, "group": membership.group, "role": Role.VIEWER}

    assert "already exists" in refused(registry.save_membership, actor=root, **double)
