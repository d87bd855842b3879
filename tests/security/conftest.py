"""A place with its people for the tests of attacks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis
from pytest_django import Settings

from migrations_audit import throttle
from tests import people


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    # WhiteNoise warns about the folder that only a deployment fills.
    settings.STATIC_ROOT = None


@pytest.fixture
def place(db: None, settings: Settings) -> people.Place:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return people.make_place()


@pytest.fixture
def no_counts() -> Iterator[None]:
    """Sign-ins that nobody has counted yet, before and after the test."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    throttle._here = throttle._Here()
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    for name in client.scan_iter("opsportal:*"):
        client.delete(name)
    client.close()
