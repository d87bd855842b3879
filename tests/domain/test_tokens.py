"""API tokens: made by a person, shown once, within scopes, until they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from migrations_audit import access
from migrations_audit.actions import tokens
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid
from migrations_audit.models import ApiToken, AuditEvent
from migrations_audit.models.clock import database_now
from tests import people
from tests.domain import trail

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(settings: Settings) -> people.Place:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return people.make_place()


def make(place: people.Place, person: str = "dev", **given: Any) -> tokens.NewToken:
    values: dict[str, Any] = {"name": "ci", "scopes": ["read", "request"], "days": 30} | given
    return tokens.create(actor=place.actor(person), **values)


def authenticate(secret: str) -> Actor:
    return tokens.authenticate(secret=secret, address="192.0.2.7")


def test_a_token_acts_for_its_owner_within_its_scopes(place: people.Place) -> None:
    actor = authenticate(make(place).secret)

    assert actor.kind is ActorKind.TOKEN
    assert actor.user_id == place.people["dev"].pk
    assert actor.scopes == {"read", "request"}
    assert actor.address == "192.0.2.7"


def test_the_audit_tells_which_token_acted(place: people.Place) -> None:
    made = make(place)

    assert authenticate(made.secret).name == f"dev (token {made.token.prefix})"


def test_a_token_of_a_person_with_the_longest_name_still_has_a_name_that_fits(place: people.Place) -> None:
    place.people["dev"].username = "x" * 150
    place.people["dev"].save(update_fields=["username"])

    assert len(authenticate(make(place).secret).name) == 150


def test_only_a_hash_of_the_secret_is_stored(place: people.Place) -> None:
    made = make(place)

    stored = str(ApiToken.objects.values().get(pk=made.token.pk)) + str(list(AuditEvent.objects.values()))
    assert made.secret not in stored
    assert made.secret.rpartition("_")[2] not in stored
    assert made.secret.startswith(f"ops_{made.token.prefix}_")
    assert made.secret not in repr(made)


def test_making_a_token_is_audited(place: people.Place) -> None:
    made = make(place)

    event = trail.last("token.created")
    assert event.object_id == made.token.prefix
    assert event.facts["facts"]["scopes"] == ["read", "request"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["approve"]}, "scopes"),
        ({"scopes": ["read", "admin"]}, "scopes"),
        ({"days": 0}, "days"),
        ({"days": -1}, "days"),
        ({"days": 367}, "days"),
    ],
)
def test_an_odd_token_is_refused_and_nothing_is_stored(place: people.Place, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        make(place, **given)

    assert refused.value.field == field
    assert not ApiToken.objects.exists()


def test_there_is_no_scope_for_approving() -> None:
    assert set(tokens.SCOPES) == {"read", "request", "run", "export"}


def test_a_token_makes_and_revokes_no_tokens(place: people.Place) -> None:
    made = make(place, scopes=list(tokens.SCOPES))
    token = authenticate(made.secret)

    with pytest.raises(access.MissingScope):
        tokens.create(actor=token, name="another", scopes=["read"], days=1)
    with pytest.raises(access.MissingScope):
        tokens.revoke(actor=token, token_id=made.token.pk)


def test_somebody_inactive_makes_no_token(place: people.Place) -> None:
    actor = place.actor("dev")
    place.people["dev"].is_active = False
    place.people["dev"].save(update_fields=["is_active"])

    with pytest.raises(tokens.NotAPerson):
        tokens.create(actor=actor, name="ci", scopes=["read"], days=1)
    trail.denied(verb="tokens.create", code="not_a_person")


def test_a_revoked_token_is_refused(place: people.Place) -> None:
    made = make(place)

    tokens.revoke(actor=place.actor("dev"), token_id=made.token.pk)

    with pytest.raises(tokens.TokenRevoked):
        authenticate(made.secret)
    assert trail.last("token.revoked").object_id == made.token.prefix


def test_revoking_twice_is_its_own_error(place: people.Place) -> None:
    made = make(place)
    tokens.revoke(actor=place.actor("dev"), token_id=made.token.pk)

    with pytest.raises(tokens.AlreadyRevoked):
        tokens.revoke(actor=place.actor("dev"), token_id=made.token.pk)


def test_somebody_elses_token_looks_like_none(place: people.Place) -> None:
    made = make(place)

    with pytest.raises(tokens.NoSuchToken):
        tokens.revoke(actor=place.actor("admin"), token_id=made.token.pk)
    with pytest.raises(tokens.NoSuchToken):
        tokens.revoke(actor=place.actor("admin"), token_id=made.token.pk + 1)
    authenticate(made.secret)


def test_a_superuser_revokes_anybodys_token(place: people.Place) -> None:
    made = make(place)
    place.people["outsider"].is_superuser = True
    place.people["outsider"].save(update_fields=["is_superuser"])

    tokens.revoke(actor=place.actor("outsider"), token_id=made.token.pk)

    assert trail.last("token.revoked").facts["facts"]["owner"] == "dev"


def test_an_expired_token_is_refused(place: people.Place) -> None:
    made = make(place)
    ApiToken.objects.update(expires_at=database_now() - timedelta(seconds=1))

    with pytest.raises(tokens.TokenExpired):
        authenticate(made.secret)


def test_a_token_of_somebody_deactivated_is_refused(place: people.Place) -> None:
    made = make(place)
    place.people["dev"].is_active = False
    place.people["dev"].save(update_fields=["is_active"])

    with pytest.raises(tokens.TokenOwnerInactive):
        authenticate(made.secret)


def test_a_token_of_somebody_who_may_no_longer_sign_in_is_refused(place: people.Place) -> None:
    made = make(place)
    place.people["dev"].is_staff = False
    place.people["dev"].save(update_fields=["is_staff"])

    with pytest.raises(tokens.TokenOwnerInactive):
        authenticate(made.secret)


ALTERED: dict[str, Callable[[str], str]] = {
    "its last sign changed": lambda secret: secret[:-1] + ("A" if secret[-1] != "A" else "B"),
    "its first sign in upper case": str.upper,
    "a blank before it": lambda secret: f" {secret}",
    "a line feed behind it": lambda secret: f"{secret}\n",
    "only its prefix": lambda secret: secret.rpartition("_")[0],
    "nothing": lambda _: "",
    "a NUL": lambda _: "\x00",
    "a lone surrogate": lambda _: "ops_\ud800",
    "a megabyte": lambda _: "ops_" + "a" * 1_000_000,
}


@pytest.mark.parametrize("altered", ALTERED)
def test_a_secret_is_not_recognised_with(place: people.Place, altered: str) -> None:
    made = make(place)

    with pytest.raises(tokens.TokenUnknown):
        authenticate(ALTERED[altered](made.secret))


def test_two_tokens_are_never_taken_for_each_other(place: people.Place) -> None:
    first, second = make(place), make(place, person="dba")

    mixed = f"ops_{first.token.prefix}_{second.secret.split('_', 2)[2]}"

    with pytest.raises(tokens.TokenUnknown):
        authenticate(mixed)


def test_the_last_use_is_noted_at_most_once_a_minute(place: people.Place) -> None:
    made = make(place)

    authenticate(made.secret)
    first = ApiToken.objects.get().last_used_at
    authenticate(made.secret)
    second = ApiToken.objects.get().last_used_at
    ApiToken.objects.update(last_used_at=database_now() - timedelta(minutes=2))
    authenticate(made.secret)
    third = ApiToken.objects.get().last_used_at

    assert first is not None
    assert first == second
    assert third is not None
    assert third > first


def test_a_refused_token_is_not_noted_as_used(place: people.Place) -> None:
    made = make(place)
    tokens.revoke(actor=place.actor("dev"), token_id=made.token.pk)

    with pytest.raises(tokens.TokenRevoked):
        authenticate(made.secret)
    assert ApiToken.objects.get().last_used_at is None


def test_a_person_acting_by_command_makes_a_token_too(place: people.Place) -> None:
    actor = replace(place.actor("dev"), kind=ActorKind.COMMAND)

    made = tokens.create(actor=actor, name="ci", scopes=["run", "read"], days=366)

    assert made.token.scopes == ["read", "run"]
    assert made.token.owner == place.people["dev"]
