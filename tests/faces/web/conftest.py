"""The pages as people see them: signed-in clients, and what a page says once its tags are gone."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from tests import people
from tests.faces.web.visitor import Visitor, VisitorOf


@pytest.fixture(autouse=True)
def _no_collected_files(settings: Settings) -> None:
    # WhiteNoise warns about the folder that only a deployment fills.
    settings.STATIC_ROOT = None


@pytest.fixture
def place(db: None) -> people.Place:
    return people.make_place()


@pytest.fixture
def visitor(place: people.Place) -> VisitorOf:
    """A browser in which the named person of the place is signed in."""
    return lambda name: Visitor(place.people[name])
