"""What the tests of the registry share: entries that are accepted, and how a refusal is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid, PortalError
from migrations_audit.models import Environment, Project, Target, Tier
from tests import people
from tests.domain import trail

CANARY = "kanarien-vogel-1942"
URL = f"postgresql://migrator:{CANARY}@db.example:5432/market"
ENVIRONMENT: dict[str, Any] = {
    "slug": "staging",
    "name": "Staging",
    "tier": Tier.STAGING,
    "queue": "target-staging",
    "requirements": [{"role": "owner", "count": 1}],
}
PROJECT: dict[str, Any] = {"slug": "shop", "name": "Shop", "folder": "/srv/projects/shop"}


def prepare(settings: Settings) -> None:
    """The settings on which the entries above stand."""
    settings.PORTAL_PROJECT_ROOTS = ["/srv/projects", "/opt/more/"]
    settings.PORTAL_INTERPRETERS = {"py312": "/opt/py312/bin/python"}
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # nobody signs in here


def superuser(name: str = "root") -> Actor:
    """A new superuser, acting in person."""
    user = User.objects.create_superuser(name, password=people.PASSWORD)
    return Actor(kind=ActorKind.USER, name=name, user_id=user.pk, address="127.0.0.1")


def refused(act: Callable[..., object], error: type[PortalError] = Invalid, *, field: str = "", **call: Any) -> str:
    """The sentence with which the call is refused; nothing may have been stored by it, and nothing invalid recorded."""
    before = _counts()
    with pytest.raises(error) as caught:
        act(**call)
    if field:
        assert getattr(caught.value, "field", None) == field
    after = _counts()
    assert before[1:] == after[1:]
    assert before == after or not issubclass(error, Invalid)
    return caught.value.message


def _counts() -> tuple[int, ...]:
    return trail.head(), Environment.objects.count(), Project.objects.count(), Target.objects.count()
