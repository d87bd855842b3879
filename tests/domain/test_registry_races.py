"""Two people at the registry at the same moment: one is stored, the other is told."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from migrations_audit.actions import people as accounts
from migrations_audit.actions import registry
from migrations_audit.actions.registry_entries import ChangedMeanwhile
from migrations_audit.errors import Invalid
from migrations_audit.models import Environment, Observation, Target
from tests import people
from tests.domain import registering, trail
from tests.domain.registering import ENVIRONMENT


@pytest.fixture(autouse=True)
def _ground(settings: Settings, real_transactions: None) -> None:
    registering.prepare(settings)


def test_of_two_changes_of_one_page_one_is_stored() -> None:
    root = registering.superuser()
    pk = registry.save_environment(actor=root, **ENVIRONMENT).pk

    answers = people.at_once(
        4,
        lambda index: registry.save_environment(
            actor=root, environment_id=pk, seen_version=1, deadline_s=1_000 + index
        ),
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["ChangedMeanwhile"] * 3 + ["Environment"]
    assert Environment.objects.get(pk=pk).settings_version == 2
    assert trail.verify().holds


def test_of_two_new_entries_of_one_name_one_is_stored_and_the_other_told() -> None:
    root = registering.superuser()

    answers = people.at_once(4, lambda index: registry.save_environment(actor=root, **ENVIRONMENT))

    assert sum(isinstance(answer, Environment) for answer in answers) == 1
    assert all(isinstance(answer, Environment | Invalid | ChangedMeanwhile) for answer in answers)
    assert Environment.objects.count() == 1


def test_two_superusers_cannot_switch_each_other_off() -> None:
    first, second = registering.superuser("first"), registering.superuser("second")
    pairs = ((first, second), (second, first))

    answers = people.at_once(
        2,
        lambda index: accounts.change_user(
            actor=pairs[index][0], user_id=pairs[index][1].user_id or 0, is_active=False
        ),
    )

    assert sum(isinstance(answer, User) for answer in answers) == 1
    assert all(isinstance(answer, User | accounts.LastSuperuser | accounts.NotSuperuser) for answer in answers)
    assert User.objects.filter(is_superuser=True, is_active=True).count() == 1


def test_a_target_that_is_read_while_it_is_removed_ends_one_way_or_the_other() -> None:
    root, place = registering.superuser(), people.make_place()
    acts = (
        lambda: registry.remove_target(actor=root, target_id=place.target.pk),
        lambda: people.observe(place),
    )

    removed, observed = people.at_once(2, lambda index: acts[index]())

    if removed is None:
        assert isinstance(observed, Target.DoesNotExist)
        assert not Target.objects.exists()
    else:
        assert isinstance(removed, registry.HasHistory)
        assert isinstance(observed, Observation)
    assert trail.verify().holds
