"""A revision whose file is another one than a verified run executed: where that was is told within one environment only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrations_audit import hashchain
from migrations_audit.engine import types
from migrations_audit.execution import edited
from migrations_audit.models import Target
from tests import people
from tests.engine import projects
from tests.findings.of_plans import verified

pytestmark = pytest.mark.django_db

REVISIONS: tuple[types.Revision, ...] = projects.read(projects.chain("003")).revisions


def sentence(target: Target) -> str:
    (found,) = edited.findings(target, REVISIONS)
    return found.sentence.partition("executed on ")[2]


def test_a_database_of_the_same_environment_is_named_with_its_run() -> None:
    place = people.make_place(rehearsal="on_request")
    verified(place, hashchain.digest("another"))
    beside = Target.objects.create(
        project=place.project, environment=place.environment, slug="b", url_reference="env:B"
    )

    assert sentence(beside) == f"{place.target} (run {place.target.runs.get().number})."


def test_databases_of_other_environments_are_not_named() -> None:
    place = people.make_place(slug="secret", rehearsal="on_request")
    other = people.make_place(slug="staging", tier="staging", project=place.project, rehearsal="on_request")
    for each in (place, replace(place, target=Target.objects.create(
        project=place.project, environment=place.environment, slug="b", url_reference="env:B"
    ))):  # fmt: skip
        verified(each, hashchain.digest("another"))

    assert sentence(other.target) == "a database of another environment."
