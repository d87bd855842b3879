"""Every URL of the portal, found in the URLconf and not in a list: as a stranger, as somebody without rights, and with GET."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from migrations_audit.models import AuditEvent, MigrationRun
from tests import people

pytestmark = pytest.mark.django_db

# What a stranger may open, and why.
PUBLIC = {
    "/login/": "the sign-in page",
    "/api/v1/audit/verifier": "the verifier is no secret; whoever holds an export needs it",
    "/api/v1/openapi.json": "the description of the API holds no data",
}


def walk(names: dict[str, str], resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[str]:
    """Every address. ``names`` fills in its parameters, so that they name rows which exist."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = prefix + _filled(str(entry.pattern), names)
        if isinstance(entry, URLResolver):
            yield from walk(names, entry, route)
        elif isinstance(entry, URLPattern):
            yield route


def _filled(route: str, names: dict[str, str]) -> str:
    route = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: names.get(found[1], "1"), route)
    route = re.sub(r"\(\?P<\w+>[^)]*\)", "1", route)
    return route.removeprefix("^").replace("\\Z", "").replace("$", "").replace("\\.", ".")


@pytest.fixture
def place() -> people.Place:
    return people.make_place()


@pytest.fixture
def every_path(place: people.Place) -> list[str]:
    """All addresses, with an approved run and its target in the place of their parameters."""
    run = people.make_run(place, state="approved")
    target = str(place.target.pk)
    names = {"number": str(run.number), "pk": target, "target_id": target, "object_id": target}
    return sorted(set(walk(names)))


def snapshot() -> tuple[int, list[tuple[int, str, int]]]:
    runs = list(MigrationRun.objects.order_by("number").values_list("number", "state", "epoch"))
    return AuditEvent.objects.exclude(action="access.denied").count(), runs


def test_the_walk_finds_the_pages(every_path: list[str]) -> None:
    run = MigrationRun.objects.get()

    assert len(every_path) > 60
    assert {f"/runs/{run.number}/approve", "/audit/export", "/api/v1/runs", "/migrations_audit/target/"} <= set(
        every_path
    )


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_gets_the_sign_in_page_or_a_refusal_and_changes_nothing(
    place: people.Place, every_path: list[str], method: str
) -> None:
    client = Client()
    before = snapshot()

    open_to_all = []
    for path in every_path:
        answer = getattr(client, method)(path)
        to_login = answer.status_code == 302 and answer["Location"].startswith("/login/")
        if not to_login and answer.status_code not in (401, 403, 404, 405):
            open_to_all.append((path, answer.status_code))

    assert [path for path, _ in open_to_all if path not in PUBLIC] == [], open_to_all
    assert snapshot() == before


@pytest.mark.parametrize("method", ["get", "post"])
def test_somebody_without_any_role_sees_no_object_and_changes_nothing(
    place: people.Place, every_path: list[str], method: str
) -> None:
    client = Client()
    client.force_login(place.people["outsider"])
    before = snapshot()

    leaks = []
    for path in every_path:
        if path in ("/logout/", "/password_change/"):
            continue
        answer = getattr(client, method)(path, follow=True)
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        if place.target.label.encode() in body or b"Production lacks 003" in body:
            leaks.append(path)

    assert leaks == []
    assert snapshot() == before


def test_no_get_changes_anything_whoever_asks(place: people.Place, every_path: list[str]) -> None:
    admin = place.people["admin"]
    admin.is_superuser = True
    admin.save(update_fields=["is_superuser"])
    client = Client()
    client.force_login(admin)
    before = snapshot()

    for path in every_path:
        if not path.endswith("/events"):
            client.get(path)

    assert snapshot() == before


def test_a_post_without_the_csrf_token_is_refused_everywhere(place: people.Place, every_path: list[str]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(place.people["operator"])
    before = snapshot()

    accepted = [
        path
        for path in every_path
        if not path.startswith("/api/") and client.post(path).status_code not in (302, 403, 404, 405)
    ]

    assert accepted == []
    assert snapshot() == before
