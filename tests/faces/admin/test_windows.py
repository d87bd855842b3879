"""Windows through the admin's forms, and on the page of their environment."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migrations_audit.models import Window
from tests import people, windowing
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, errors, list_url, submit, text


def test_a_superuser_adds_a_window_from_the_page_of_its_environment(sign_in: SignIn, place: people.Place) -> None:
    client = sign_in("root")
    url = f"{add_url(Window)}?environment={place.environment.pk}"
    assert url in client.get(change_url(place.environment)).content.decode()

    submit(
        client,
        url,
        kind="deny",
        cron="0 6 L * *",
        duration_minutes="2880",
        time_zone="Europe/Zurich",
        description="month end",
    )

    window = Window.objects.get()
    assert (window.environment, window.cron, window.overrun) == (place.environment, "0 6 L * *", True)
    assert trail.last("window.created").facts["actor"]["name"] == "root"


def test_the_page_of_an_environment_says_what_is_open_now_and_when_the_rest_opens(
    sign_in: SignIn, place: people.Place
) -> None:
    windowing.opened(place.environment)
    windowing.opens_in(place.environment, 3)

    for name in ("root", "viewer"):
        page = text(sign_in(name).get(change_url(place.environment)))

        assert "Open at least until" in page
        assert "yes, until" in page
        assert "no, opens" in page
    assert "not open, opens" in text(sign_in("root").get(list_url(Window)))


def test_the_list_asks_as_many_questions_for_ten_windows_as_for_one(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("viewer"), list_url(Window)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert "open, until" in text(client.get(url))
        return len(asked)

    windowing.opened(place.environment)
    one = queries()
    for _ in range(9):
        windowing.opened(place.environment)
    assert queries() == one


def test_a_frozen_portal_is_said_on_the_page_of_an_environment(sign_in: SignIn, place: people.Place) -> None:
    windowing.frozen(place)

    page = text(sign_in("root").get(change_url(place.environment)))

    assert "Incident 7. No run starts on any target meanwhile." in page


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("cron", "0 22 * *", "five fields"),
        ("cron", "61 * * * *", "cannot be read"),
        ("time_zone", "Zurich", "Name a time zone as the IANA does"),
        ("duration_minutes", "0", "greater than or equal to 1"),
        ("description", "postgresql://u:hunter2@h/db", "This held a password"),
    ],
)
def test_nonsense_is_refused_at_its_field(
    sign_in: SignIn, place: people.Place, field: str, typed: str, sentence: str
) -> None:
    window = windowing.opened(place.environment)
    before = trail.head()

    page = submit(sign_in("root"), change_url(window), **{field: typed})

    assert sentence in errors(page)
    window.refresh_from_db()
    assert (window.cron, trail.head()) == ("* * * * *", before)


def test_a_superuser_changes_and_removes_a_window(sign_in: SignIn, place: people.Place) -> None:
    window, client = windowing.opened(place.environment), sign_in("root")

    submit(client, change_url(window), duration_minutes="90")
    assert trail.last("window.changed").facts["facts"]["changed"] == {"duration_minutes": {"old": 60, "new": 90}}

    client.post(delete_url(window), {"post": "yes"})
    assert not Window.objects.exists()
    assert trail.last("window.removed").object_id == str(window.pk)


def test_a_holder_of_the_permission_may_and_others_only_look(sign_in: SignIn, place: people.Place) -> None:
    window = windowing.opened(place.environment)
    for name in ("admin", "viewer"):
        client = sign_in(name)
        assert client.get(change_url(window)).status_code == 200
        assert client.post(change_url(window), {"cron": "0 0 * * *"}).status_code == 403
        assert client.get(add_url(Window)).status_code == 403
        assert client.post(delete_url(window), {"post": "yes"}).status_code == 403
    place.people["viewer"].user_permissions.add(Permission.objects.get(codename="change_window"))

    submit(sign_in("viewer"), change_url(window), cron="0 0 * * *")

    window.refresh_from_db()
    assert window.cron == "0 0 * * *"


def test_an_outsider_sees_no_window(sign_in: SignIn, place: people.Place) -> None:
    window = windowing.opened(place.environment)

    assert sign_in("outsider").get(change_url(window)).status_code in (302, 403)
    assert sign_in("outsider").get(list_url(Window)).status_code == 403


def test_the_removal_of_productions_windows_is_proposed_and_the_dashboard_names_the_window(
    sign_in: SignIn, place: people.Place
) -> None:
    window, client = windowing.closed(place.environment), sign_in("root")
    people.observe(place)

    answer = client.post(delete_url(window), {"post": "yes"}, follow=True)

    page = text(answer)
    assert "Nothing was changed yet." in page
    assert "for the removal of a window of Production waits on the dashboard" in page
    assert "Runs may not start in Production for 60 min from * * * * * UTC (month end)" in page
    assert Window.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_removal_that_takes_one_person_is_in_the_admins_own_history(sign_in: SignIn, place: people.Place) -> None:
    sign_in("root").post(delete_url(windowing.closed(place.environment)), {"post": "yes"})

    assert LogEntry.objects.get().is_deletion()
