"""The admin as people use it: signed-in clients that read a form and send it back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests import people

SignIn = Callable[[str], Client]


@pytest.fixture(autouse=True)
def _ground(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # what is tested is not its cost
    settings.STATIC_ROOT = None  # WhiteNoise warns about the folder that only a deployment fills
    settings.PORTAL_PROJECT_ROOTS = ["/srv"]
    settings.PORTAL_INTERPRETERS = {"py312": "/opt/py312/bin/python"}


@pytest.fixture
def place(db: None) -> people.Place:
    """A production environment with one target and a person per role, and the superuser ``root``."""
    made = people.make_place()
    made.people["root"] = User.objects.create_superuser("root", password=people.PASSWORD)
    return made


@pytest.fixture
def sign_in(place: people.Place) -> SignIn:
    """A browser in which this person is signed in."""

    def browser(name: str) -> Client:
        client = Client()
        client.force_login(place.people[name])
        return client

    return browser
