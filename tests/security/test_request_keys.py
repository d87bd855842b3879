"""One key, many requests at the same moment."""

from __future__ import annotations

import pytest

from migrations_audit.actions import request_keys, runs
from migrations_audit.models import MigrationRun, Target
from tests import people
from tests.domain.conftest import _emptiable_tables, real_transactions

__all__ = ["_emptiable_tables", "real_transactions"]

pytestmark = pytest.mark.usefixtures("real_transactions")


def ask(place: people.Place, target: Target) -> MigrationRun:
    return runs.request(
        actor=place.actor("dev"), target_id=target.pk, revision="head", reason="Release 7.", request_key="build-7"
    )


def test_of_many_requests_with_one_key_at_once_one_run_is_made() -> None:
    place = people.make_place()

    answers = people.at_once(6, lambda _: ask(place, place.target))

    assert {getattr(answer, "number", answer) for answer in answers} == {MigrationRun.objects.get().number}


def test_one_key_for_two_targets_at_once_makes_one_run_and_refuses_the_other() -> None:
    place = people.make_place()
    other = Target.objects.create(
        project=place.project, environment=place.environment, slug="other", url_reference="env:OTHER"
    )

    answers = people.at_once(2, lambda index: ask(place, (place.target, other)[index]))

    assert sorted(type(answer).__name__ for answer in answers) == [
        "MigrationRun",
        request_keys.RequestKeyReused.__name__,
    ]
    assert MigrationRun.objects.count() == 1
