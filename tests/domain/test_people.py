"""Accounts and groups: what their actions refuse whoever calls them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from pytest_django import Settings

from migrations_audit.access import MissingScope
from migrations_audit.actions import people as accounts
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid
from tests import people
from tests.domain import trail

pytestmark = pytest.mark.django_db

NEW_PASSWORD = "several-words-that-nobody-guesses"


@pytest.fixture(autouse=True)
def _cheap_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def root() -> Actor:
    user = User.objects.create_superuser("root", password=people.PASSWORD)
    return Actor(kind=ActorKind.USER, name="root", user_id=user.pk, address="127.0.0.1")


def test_an_administrator_of_an_environment_makes_no_account() -> None:
    place = people.make_place()

    with pytest.raises(accounts.NotSuperuser):
        accounts.create_user(actor=place.actor("admin"), username="mine", password=NEW_PASSWORD)

    trail.denied(verb="people.create_user", code="not_superuser")
    assert not User.objects.filter(username="mine").exists()


def test_a_superusers_token_changes_no_account(root: Actor) -> None:
    token = Actor(kind=ActorKind.TOKEN, name="root (token x)", user_id=root.user_id, scopes=frozenset({"run"}))

    with pytest.raises(MissingScope):
        accounts.change_user(actor=token, user_id=root.user_id or 0, is_staff=False)


def test_everybody_sets_the_own_password_and_nobody_anothers() -> None:
    place = people.make_place()

    accounts.set_password(actor=place.actor("dev"), user_id=place.people["dev"].pk, password=NEW_PASSWORD)
    with pytest.raises(accounts.NotSuperuser):
        accounts.set_password(actor=place.actor("dev"), user_id=place.people["dba"].pk, password=NEW_PASSWORD)

    assert User.objects.get(username="dev").check_password(NEW_PASSWORD)
    assert User.objects.get(username="dba").check_password(people.PASSWORD)


def test_a_weak_password_is_refused_at_its_field(root: Actor) -> None:
    with pytest.raises(Invalid, match="too short") as caught:
        accounts.create_user(actor=root, username="newcomer", password="short")

    assert caught.value.field == "password1"


def test_an_account_without_a_password_cannot_sign_in_with_one(root: Actor) -> None:
    user = accounts.create_user(actor=root, username="newcomer", password=None)

    assert not user.has_usable_password()
    assert trail.last("user.created").facts["facts"] == {"has_password": False}


def test_a_username_is_not_a_field_that_can_be_set(root: Actor) -> None:
    with pytest.raises(Invalid, match="username is not a field"):
        accounts.change_user(actor=root, user_id=root.user_id or 0, username="other")


def test_the_last_superuser_cannot_be_switched_off_and_the_second_can(root: Actor) -> None:
    with pytest.raises(accounts.LastSuperuser):
        accounts.change_user(actor=root, user_id=root.user_id or 0, is_active=False)
    second = User.objects.create_superuser("second", password=people.PASSWORD)

    accounts.change_user(actor=root, user_id=second.pk, is_active=False)

    assert not User.objects.get(username="second").is_active


def test_an_inactive_superuser_does_not_count_as_one_left(root: Actor) -> None:
    User.objects.create_superuser("retired", password=people.PASSWORD, is_active=False)

    with pytest.raises(accounts.LastSuperuser):
        accounts.change_user(actor=root, user_id=root.user_id or 0, is_superuser=False)


def test_an_account_that_is_not_there_is_named_as_such(root: Actor) -> None:
    with pytest.raises(accounts.NoSuchAccount):
        accounts.change_user(actor=root, user_id=999_999, is_staff=True)
    with pytest.raises(accounts.NoSuchAccount):
        accounts.remove_group(actor=root, group_id=999_999)


def test_a_group_with_a_forged_line_in_its_name_is_refused(root: Actor) -> None:
    with pytest.raises(Invalid, match="printable"):
        accounts.save_group(actor=root, name="night\nINFO forged")

    assert not Group.objects.exists()
