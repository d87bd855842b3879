"""Targets, their readings and Check now through the API."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from migrations_audit import dispatch
from migrations_audit.models import Target
from migrations_audit.states import TargetStatus
from tests import people
from tests.domain import trail
from tests.faces.api.caller import Caller


def test_a_target_is_shown_with_its_last_reading(place: people.Place, dev: Caller) -> None:
    people.observe(place, revisions=["001"])
    last = people.observe(place)

    shown = dev.get(f"targets/{place.target.pk}").body

    assert shown["label"] == "market/production/main"
    assert shown["url_reference"] == "env:TEST_TARGET_URL"
    assert shown["identity"]["system_identifier"] == people.IDENTITY["system_identifier"]
    observation = shown["observation"]
    assert (observation["id"], observation["status"], observation["revisions"]) == (last.pk, "behind", ["002"])
    assert observation["reader"] == "worker@test"
    assert 0 <= observation["age_s"] < 600
    assert observation["is_stale"] is False


def test_a_target_that_was_never_read_says_so(place: people.Place, dev: Caller) -> None:
    assert dev.get(f"targets/{place.target.pk}").body["observation"] is None


def test_targets_are_listed_page_by_page_and_by_filter(place: people.Place, dev: Caller) -> None:
    for number in range(4):
        Target.objects.create(
            project=place.project, environment=place.environment, slug=f"extra-{number}", url_reference="env:OTHER"
        )

    first = dev.get("targets", limit=3).body
    rest = dev.get("targets", limit=3, after=first["next_after"]).body

    assert [len(first["items"]), len(rest["items"])] == [3, 2]
    assert rest["next_after"] is None
    assert len({item["label"] for item in first["items"] + rest["items"]}) == 5
    assert dev.get("targets", environment="elsewhere").body["items"] == []
    assert len(dev.get("targets", project="market", environment="production").body["items"]) == 5


def test_the_number_of_queries_does_not_grow_with_the_targets(place: people.Place, dev: Caller) -> None:
    people.observe(place)
    dev.get("targets")
    with CaptureQueriesContext(connection) as few:
        dev.get("targets")
    for number in range(5):
        target = Target.objects.create(
            project=place.project, environment=place.environment, slug=f"extra-{number}", url_reference="env:OTHER"
        )
        people.observe(people.Place(place.environment, place.project, target, place.people))
    with CaptureQueriesContext(connection) as many:
        dev.get("targets")

    assert len(many) == len(few)


def test_observations_are_listed_newest_first(place: people.Place, dev: Caller) -> None:
    rows = [people.observe(place, revisions=[f"{number:03}"]) for number in range(5)]

    first = dev.get(f"targets/{place.target.pk}/observations", limit=2).body
    second = dev.get(f"targets/{place.target.pk}/observations", limit=2, before=first["next_before"]).body
    newer = dev.get(f"targets/{place.target.pk}/observations", after=rows[3].pk).body

    assert [item["id"] for item in first["items"] + second["items"]] == [row.pk for row in reversed(rows[1:])]
    assert [item["id"] for item in newer["items"]] == [rows[4].pk]


def test_check_now_wakes_a_worker_and_says_after_which_reading_to_look(
    place: people.Place,
    dev: Caller,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    last = people.observe(place)
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(dispatch, "_send", lambda wake, *, queue, ids: sent.append((wake, queue, ids)))

    with django_capture_on_commit_callbacks(execute=True):
        answer = dev.post(f"targets/{place.target.pk}/observe")

    assert (answer.status, answer.body) == (202, {"target": "market/production/main", "last_observation": last.pk})
    assert sent == [(dispatch.Wake.OBSERVE, "target-production", {"target_id": place.target.pk})]
    event = trail.last("target.check_requested")
    assert event.facts["actor"]["kind"] == "token"
    assert event.facts["actor"]["address"] == "127.0.0.1"


def test_an_unreachable_target_is_shown_as_that(place: people.Place, dev: Caller) -> None:
    people.observe(place, status=TargetStatus.UNREACHABLE, identity=None, catalog=None, error_code="no_route")

    observation = dev.get(f"targets/{place.target.pk}").body["observation"]

    assert (observation["status"], observation["error_code"]) == ("unreachable", "no_route")
    assert observation["identity"] is None
