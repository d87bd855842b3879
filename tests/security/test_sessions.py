"""Sessions and cookies: begun anew at the sign-in, ended at once with whatever carried them, and not to be planted or read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from migrations_audit.actions import people as accounts
from migrations_audit.models import MigrationRun
from migrations_audit.web import stream
from tests import people
from tests.unit.test_environment import start


@pytest.fixture
def root(place: people.Place) -> User:
    return people.make_user("root", superuser=True)


def signed_in(place: people.Place, name: str = "viewer") -> Client:
    client = Client()
    client.force_login(place.people[name])
    return client


def change(place: people.Place, root: User, **values: Any) -> None:
    place.people["root"] = root
    accounts.change_user(actor=place.actor("root"), user_id=place.people["viewer"].pk, **values)


def end_by_logout(place: people.Place, root: User, client: Client) -> None:
    client.post("/logout/")


def end_by_own_password(place: people.Place, root: User, client: Client) -> None:
    other = Client()
    other.force_login(place.people["viewer"])
    new = {
        "old_password": people.PASSWORD,
        "new_password1": "another-long-passphrase",
        "new_password2": "another-long-passphrase",
    }
    assert other.post("/password_change/", new).status_code == 302


def end_by_reset(place: people.Place, root: User, client: Client) -> None:
    place.people["root"] = root
    accounts.set_password(
        actor=place.actor("root"), user_id=place.people["viewer"].pk, password="another-long-passphrase"
    )


def end_by_switching_off(place: people.Place, root: User, client: Client) -> None:
    change(place, root, is_active=False)


def end_by_staff(place: people.Place, root: User, client: Client) -> None:
    change(place, root, is_staff=False)


def end_by_group(place: people.Place, root: User, client: Client) -> None:
    change(place, root, groups=[])


End = Callable[[people.Place, User, Client], None]
ENDS = [end_by_logout, end_by_own_password, end_by_reset, end_by_switching_off, end_by_staff, end_by_group]


def test_a_session_planted_before_the_sign_in_is_not_the_one_after_it(place: people.Place, no_counts: None) -> None:
    client = Client()
    client.session.save()  # what an attacker knows
    planted = client.session.session_key
    client.cookies["sessionid"] = str(planted)

    client.post("/login/", {"username": "dev", "password": people.PASSWORD})

    assert client.session.session_key != planted
    attacker = Client()
    attacker.cookies["sessionid"] = str(planted)
    assert attacker.get("/").status_code == 302


@pytest.mark.parametrize("end", ENDS)
def test_the_next_request_of_an_old_session_is_refused(place: people.Place, root: User, end: End) -> None:
    run = people.make_run(place)
    client = signed_in(place)
    old = Client()
    old.cookies["sessionid"] = client.cookies["sessionid"].value
    assert old.get(f"/runs/{run.number}/").status_code == 200

    end(place, root, client)

    assert old.get(f"/runs/{run.number}/").status_code in (302, 404)
    assert old.get(f"/runs/{run.number}/log").status_code in (302, 404)
    assert old.get(f"/runs/{run.number}/events").status_code in (302, 404)


class _Silent(stream.Wakeups):
    async def wait(self) -> None:
        """Nobody nudges; look again at once."""


@asynccontextmanager
async def silently(number: int) -> AsyncIterator[stream.Wakeups]:
    yield _Silent(None)


@pytest.mark.parametrize("end", ENDS)
def test_an_open_live_log_ends_with_the_session(
    place: people.Place, root: User, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "listening", silently)
    monkeypatch.setattr(stream, "close_old_connections", lambda: None)
    run = people.make_run(place, state="running")
    client = signed_in(place)

    heard = listen(run, client, then=lambda: end(place, root, client))

    assert heard[-1][0] == "end"
    assert heard[-1][1]["reason"] in ("You are no longer signed in.", "You may no longer see this run.")


def test_a_live_log_outlives_the_sign_out_of_another_session(
    place: people.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "listening", silently)
    monkeypatch.setattr(stream, "close_old_connections", lambda: None)
    run = people.make_run(place, state="running")
    client, other = signed_in(place), signed_in(place)

    def leave_and_finish() -> None:
        other.post("/logout/")
        people.finish(place, MigrationRun.objects.select_related("plan").get(number=run.number))

    heard = listen(run, client, then=leave_and_finish)

    assert heard[-1] == ("end", {"reason": "The run has ended."})


def listen(run: MigrationRun, client: Client, *, then: Callable[[], None]) -> list[tuple[str, dict[str, Any]]]:
    """The events of the stream that this session opens; ``then`` happens after the first."""
    user_id, key = int(client.session["_auth_user_id"]), client.session.session_key

    async def all_of_them() -> list[tuple[str, dict[str, Any]]]:
        heard: list[tuple[str, dict[str, Any]]] = []
        async for chunk in stream.events_of(run.number, user_id=user_id, after=0, session_key=key):
            fields = dict(line.split(": ", 1) for line in chunk.strip().splitlines() if not line.startswith(":"))
            if "event" in fields:
                heard.append((fields["event"], json.loads(fields["data"])))
                if len(heard) == 1:
                    await sync_to_async(then)()
        return heard

    return async_to_sync(all_of_them)()


def test_the_address_of_the_live_log_hands_the_session_on(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(stream, "events_of", lambda number, **named: given.update(named))
    client = signed_in(place)

    client.get(f"/runs/{people.make_run(place).number}/events")

    assert given["session_key"] == client.cookies["sessionid"].value


def test_what_the_database_keeps_of_a_session_opens_none(place: people.Place) -> None:
    client = signed_in(place)
    (row,) = Session.objects.all()
    thief = Client()
    thief.cookies["sessionid"] = row.session_key

    assert client.cookies["sessionid"].value not in f"{row.session_key} {row.session_data}"
    assert thief.get("/").status_code == 302
    assert client.get("/").status_code == 200


def test_a_session_that_ran_out_is_refused(place: people.Place) -> None:
    client = signed_in(place)
    Session.objects.update(expire_date="2020-01-01T00:00:00Z")

    assert client.get("/").status_code == 302


def test_cookies_are_not_for_scripts_nor_for_other_sites(place: people.Place, no_counts: None) -> None:
    client = Client()
    client.post("/login/", {"username": "viewer", "password": people.PASSWORD})
    client.get("/password_change/")

    assert set(client.cookies) == {"sessionid", "csrftoken"}
    for name in client.cookies:
        assert client.cookies[name]["httponly"]
        assert client.cookies[name]["samesite"] in ("Lax", "Strict")
        assert client.cookies[name]["path"] == "/"
        assert not client.cookies[name]["domain"]


def test_in_production_cookies_are_bound_to_the_host_and_to_https() -> None:
    names = (
        "SESSION_COOKIE_NAME",
        "CSRF_COOKIE_NAME",
        "SESSION_COOKIE_SECURE",
        "CSRF_COOKIE_SECURE",
        "SECURE_HSTS_SECONDS",
    )
    script = (
        f"import json; from opsportal import settings; print(json.dumps({{n: getattr(settings, n) for n in {names}}}))"
    )

    said = json.loads(start(script=script).stdout)

    assert said["SESSION_COOKIE_NAME"].startswith("__Host-")
    assert said["CSRF_COOKIE_NAME"].startswith("__Host-")
    assert said["SESSION_COOKIE_SECURE"] is said["CSRF_COOKIE_SECURE"] is True
    assert said["SECURE_HSTS_SECONDS"] >= 31_536_000
