"""Targets through the admin's forms and in their list."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from migrations_audit import sealing
from migrations_audit.models import Environment, Observation, Target
from migrations_audit.models.clock import database_now
from migrations_audit.states import TargetStatus
from tests import people
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, errors, fields, list_url, submit, text


def test_an_administrator_adds_a_target_by_reference(sign_in: SignIn, place: people.Place) -> None:
    page = submit(
        sign_in("admin"),
        add_url(Target),
        project=str(place.project.pk),
        environment=str(place.environment.pk),
        slug="reports",
        url_reference="file:/run/secrets/reports",
    )

    assert "market/production/reports ” was added" in text(page)
    assert trail.last("target.created").target == "market/production/reports"


def test_a_new_url_is_sealed_and_the_form_shows_it_empty(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("admin"), change_url(place.target)

    submit(client, url, new_url="postgresql://u:hunter2@h:5432/db")

    place.target.refresh_from_db()
    token = place.target.url_reference.removeprefix("sealed:")
    assert sealing.unseal(token, keys=settings.PORTAL_SEALING_KEYS) == "postgresql://u:hunter2@h:5432/db"
    shown = client.get(url)
    assert "sealed value" in text(shown)
    assert token not in shown.content.decode()
    assert fields(client, url)["url_reference"] + fields(client, url)["new_url"] == ["", ""]


def test_a_form_sent_back_as_it_is_keeps_a_sealed_value(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("admin"), change_url(place.target)
    submit(client, url, new_url="postgresql://u:hunter2@h:5432/db")
    place.target.refresh_from_db()
    sealed, before = place.target.url_reference, trail.head()

    submit(client, url)

    place.target.refresh_from_db()
    assert (place.target.url_reference, trail.head()) == (sealed, before)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"url_reference": "postgresql://u:hunter2@h/db"}, "This held a password"),
        ({"url_reference": "postgresql://h/db"}, "Enter it in “New URL”"),
        ({"url_reference": "env:postgresql://u:hunter2@h/db"}, "This held a password"),
        ({"url_reference": "hunter2"}, "A reference is env:NAME"),
        ({"url_reference": "env:DATABASE_URL"}, "belongs to the portal itself"),
        ({"new_url": "oracle://u:hunter2@h/db"}, "begins with postgresql://"),
        ({"new_url": "postgresql://u:hunter2@h"}, "names no database"),
        ({"new_url": "postgresql://u:hunter2@h:5x/db"}, "malformed"),
        ({"new_url": "postgresql://u:hunter2@h/db", "url_reference": "env:OTHER"}, "not both"),
    ],
)
def test_nonsense_is_refused_without_repeating_it(
    sign_in: SignIn, place: people.Place, typed: dict[str, str], sentence: str
) -> None:
    before = trail.head()

    page = submit(sign_in("admin"), change_url(place.target), **typed)

    assert sentence in errors(page)
    assert "hunter2" not in page.content.decode()
    assert (trail.head(), LogEntry.objects.count()) == (before, 0)


def test_nobody_reads_a_sealed_value_letter_by_letter(sign_in: SignIn, place: people.Place) -> None:
    answer = sign_in("viewer").get(f"{list_url(Target)}?url_reference__startswith=env")

    assert answer.status_code == 400


def test_a_viewer_sees_the_reference_and_no_form(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("viewer"), change_url(place.target)

    assert "env:TEST_TARGET_URL" in text(client.get(url))
    assert not {"url_reference", "new_url"} & set(fields(client, url))
    assert client.post(url, {"url_reference": "env:MINE"}).status_code == 403


def test_a_viewer_of_a_sealed_target_sees_that_it_is_sealed(sign_in: SignIn, place: people.Place) -> None:
    submit(sign_in("admin"), change_url(place.target), new_url="postgresql://u:hunter2@h/db")
    place.target.refresh_from_db()

    page = sign_in("viewer").get(change_url(place.target))

    assert "sealed value" in text(page)
    assert place.target.url_reference[8:] not in page.content.decode()


def test_what_was_read_keeps_its_project_and_environment(sign_in: SignIn, place: people.Place) -> None:
    people.observe(place)
    client, url = sign_in("admin"), change_url(place.target)

    assert not {"project", "environment", "slug"} & set(fields(client, url))
    page = client.post(delete_url(place.target), {"post": "yes"}, follow=True)

    assert "It stays" in text(page)
    assert Target.objects.filter(pk=place.target.pk).exists()


def test_an_unread_target_is_deleted_with_an_event(sign_in: SignIn, place: people.Place) -> None:
    page = sign_in("admin").post(delete_url(place.target), {"post": "yes"}, follow=True)

    assert "was deleted." in text(page)
    assert trail.last("target.removed").target == "market/production/main"


def test_the_list_says_what_was_read_and_when_and_leads_to_the_page(sign_in: SignIn, place: people.Place) -> None:
    people.observe(place)

    page = sign_in("viewer").get(list_url(Target))

    assert "behind: 1 pending" in text(page)
    assert "ago" in text(page)
    assert reverse("web:target", kwargs={"pk": place.target.pk}) in page.content.decode()


def make_reading(place: people.Place, status: TargetStatus, *, old_s: int) -> None:
    """A stored reading of some age."""
    Observation.objects.create(
        target=place.target,
        at=database_now() - timedelta(seconds=old_s),
        reader="worker@test",
        purpose="check",
        status=status.value,
        sentence="read",
        identity=people.IDENTITY,
        revisions=["003"],
    )


@pytest.mark.parametrize(
    ("old_s", "kind", "others"),
    [(0, "in_sync", ["stale", "never_read", "behind"]), (5_000, "stale", ["in_sync", "never_read"])],
)
def test_a_stale_reading_is_found_as_stale_and_never_as_in_sync(
    sign_in: SignIn, place: people.Place, old_s: int, kind: str, others: list[str]
) -> None:
    make_reading(place, TargetStatus.IN_SYNC, old_s=old_s)
    client = sign_in("viewer")

    found = [each for each in [kind, *others] if "1 target" in text(client.get(f"{list_url(Target)}?reading={each}"))]

    assert found == [kind]


def test_a_target_never_read_is_found_as_such(sign_in: SignIn, place: people.Place) -> None:
    page = sign_in("viewer").get(f"{list_url(Target)}?reading=never_read")

    assert "1 target" in text(page)
    assert "never read" in text(page)


def test_the_list_asks_as_many_questions_for_thirty_targets_as_for_one(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("viewer"), list_url(Target)
    people.observe(place)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert client.get(url).status_code == 200
        return len(asked)

    one = queries()
    for number in range(30):
        target = Target.objects.create(
            project=place.project, environment=place.environment, slug=f"t{number}", url_reference="env:X"
        )
        people.observe(people.Place(place.environment, place.project, target))
    assert queries() == one


def test_another_teams_targets_are_not_in_the_list_and_not_in_its_filters(sign_in: SignIn, place: people.Place) -> None:
    other = Environment.objects.create(slug="other", name="Secretive", tier="staging", queue="other")
    Target.objects.create(project=place.project, environment=other, slug="hidden", url_reference="env:X")

    page = sign_in("viewer").get(list_url(Target))

    assert "hidden" not in text(page)
    assert "Secretive" not in text(page)
