"""The API through HTTP, as a program with a token sees it."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests import people
from tests.faces.api.caller import Caller


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    # WhiteNoise warns about the folder that only a deployment fills.
    settings.STATIC_ROOT = None


@pytest.fixture
def place(db: None, settings: Settings) -> people.Place:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return people.make_place()


@pytest.fixture
def dev(place: people.Place) -> Caller:
    """The developer's pipeline, with every scope there is."""
    return Caller.of(place, "dev")


@pytest.fixture
def operator(place: people.Place) -> Caller:
    return Caller.of(place, "operator")


@pytest.fixture
def outsider(place: people.Place) -> Caller:
    """A valid token of somebody who holds no role anywhere."""
    return Caller.of(place, "outsider")
