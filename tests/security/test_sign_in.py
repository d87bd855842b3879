"""Signing in: guessing is slowed down, tells nothing, and is on record without anybody being able to flood the record."""

from __future__ import annotations

from typing import Any, cast

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from migrations_audit import throttle
from migrations_audit.actions import audit, sign_ins
from migrations_audit.models import AuditEvent
from tests import people
from tests.faces.web.visitor import events

pytestmark = pytest.mark.usefixtures("no_counts")

GENERIC = "You are not signed in: user name and password do not belong together"


def sign_in(name: str, password: str, *, address: str = "192.0.2.1", client: Client | None = None) -> HttpResponse:
    values = {"username": name, "password": password}
    return cast(HttpResponse, (client or Client()).post("/login/", values, REMOTE_ADDR=address))


def guess(times: int, *, name: str = "dev", address: str = "192.0.2.1") -> list[int]:
    return [sign_in(name, f"wrong-{number}", address=address).status_code for number in range(times)]


def without_token(answer: HttpResponse) -> str:
    """The page but for what differs by chance and what was typed."""
    lines = answer.content.decode().splitlines()
    return "\n".join(line for line in lines if "csrfmiddlewaretoken" not in line and 'name="username"' not in line)


def test_somebody_with_the_right_password_gets_in_and_that_is_on_record(place: people.Place) -> None:
    answer = sign_in("dev", people.PASSWORD)

    assert answer.status_code == 302
    (event,) = events("user.signed_in")
    assert (event.actor, event.object_id) == ("dev", "dev")
    assert event.facts["actor"]["address"] == "192.0.2.1"


def test_guesses_at_one_account_are_refused_unread_after_a_few(place: people.Place) -> None:
    assert guess(sign_ins.MOST_HERE) == [200] * sign_ins.MOST_HERE

    answer = sign_in("dev", people.PASSWORD)

    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= sign_ins.WINDOW_S
    assert "too many attempts" in answer.content.decode()
    assert not events("user.signed_in")


def test_somebody_who_guesses_elsewhere_does_not_keep_the_owner_out(place: people.Place) -> None:
    guess(3 * sign_ins.MOST_HERE, address="198.51.100.7")

    assert sign_in("dev", people.PASSWORD).status_code == 302


def test_guesses_at_one_account_from_many_addresses_are_refused(
    place: people.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "MOST_OF_AN_ACCOUNT", 12)
    for number in range(12):
        guess(1, address=f"198.51.100.{number}")

    assert sign_in("dev", people.PASSWORD, address="203.0.113.9").status_code == 429
    assert sign_in("dba", people.PASSWORD, address="203.0.113.9").status_code == 302


def test_one_address_cannot_try_many_accounts(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_ins, "MOST_OF_AN_ADDRESS", 12)
    for number in range(12):
        guess(1, name=f"person{number}")

    assert sign_in("dev", people.PASSWORD).status_code == 429
    assert sign_in("dev", people.PASSWORD, address="203.0.113.9").status_code == 302


def test_a_whole_office_may_sign_in_from_one_address(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_ins, "MOST_OF_AN_ADDRESS", 3)

    assert [sign_in(name, people.PASSWORD).status_code for name in (*people.ROLES, *people.ROLES)] == [302] * 14


def test_an_ipv6_network_counts_as_one_address(place: people.Place) -> None:
    for number in range(sign_ins.MOST_HERE):
        guess(1, address=f"2001:db8:1:2::{number:x}")

    assert guess(1, address="2001:db8:1:2:ffff::1") == [429]
    assert guess(1, address="2001:db8:1:3::1") == [200]


@pytest.mark.parametrize("spelling", ["DEV", "\uff44\uff45\uff56"])
def test_another_spelling_of_a_name_is_no_further_account(place: people.Place, spelling: str) -> None:
    guess(sign_ins.MOST_HERE)

    assert guess(1, name=spelling) == [429]


def test_failures_before_a_success_are_forgotten(place: people.Place) -> None:
    guess(sign_ins.MOST_HERE - 1)
    sign_in("dev", people.PASSWORD)

    assert guess(sign_ins.MOST_HERE) == [200] * sign_ins.MOST_HERE


@pytest.mark.parametrize("kind", ["absent", "inactive", "not staff", "without a password"])
def test_no_word_tells_whether_there_is_such_an_account(place: people.Place, kind: str) -> None:
    eve = User.objects.create_user("eve", password=people.PASSWORD, is_staff=kind != "not staff")
    if kind == "absent":
        eve.delete()
    elif kind == "inactive":
        User.objects.filter(pk=eve.pk).update(is_active=False)
    elif kind == "without a password":
        eve.set_unusable_password()
        eve.save()

    there, odd = sign_in("dev", "wrong"), sign_in("eve", people.PASSWORD)

    assert GENERIC in there.content.decode()
    assert without_token(there) == without_token(odd)
    assert there.status_code == odd.status_code == 200


def test_an_absent_account_costs_the_same_work_and_the_same_number_of_attempts(
    place: people.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def encode(_: object, password: str, salt: str) -> str:
        hashed.append(password)
        return f"md5${salt}$0"

    monkeypatch.setattr("django.contrib.auth.hashers.MD5PasswordHasher.encode", encode)

    codes = {name: guess(sign_ins.MOST_HERE + 2, name=name) for name in ("dev", "nobody-of-this-name")}

    assert codes["dev"] == codes["nobody-of-this-name"]
    assert len(hashed) == 2 * sign_ins.MOST_HERE


def test_refused_attempts_are_on_record_once_and_the_throttle_once(place: people.Place) -> None:
    guess(sign_ins.MOST_HERE + 20)

    (failed,) = events("user.sign_in_failed")
    (throttled,) = events("user.sign_in_throttled")
    assert (failed.object_id, throttled.object_id) == ("dev", "dev")
    assert failed.facts["actor"] == {"kind": "anonymous", "name": "a stranger", "user_id": None, "address": "192.0.2.1"}
    assert throttled.facts["facts"] == {"by": "account and address"}


def test_a_password_typed_as_a_name_is_not_kept(place: people.Place) -> None:
    sign_in("correct-horse-battery-staple", "dev")

    (failed,) = events("user.sign_in_failed")
    assert failed.object_id == sign_ins.NOBODY
    assert "battery" not in "".join(AuditEvent.objects.values_list("body", flat=True))


def test_strangers_cannot_flood_the_chain(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_ins, "MOST_EVENTS", 5)

    for number in range(20):
        guess(1, name=f"person{number}", address=f"198.51.100.{number}")

    assert len(events("user.sign_in_failed")) == 5


def test_without_redis_a_process_counts_alone(place: people.Place, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    assert guess(sign_ins.MOST_HERE + 1)[-2:] == [200, 429]


def test_what_is_kept_in_redis_names_nobody(place: people.Place) -> None:
    names = [throttle._name(kind, "dev") for kind in ("account", "address")]

    assert len(set(names)) == 2
    assert not any("dev" in name for name in names)
    assert throttle.add("account", "dev", window_s=60).seconds_left <= 60


def test_a_chain_that_cannot_be_written_lets_nobody_in(place: people.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(**_: Any) -> None:
        raise audit.AuditUnavailable

    monkeypatch.setattr(audit, "record", unavailable)
    client = Client()

    answer = sign_in("dev", people.PASSWORD, client=client)

    assert answer.status_code == 503
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\thttps://evil.example", "http:///evil.example"]
)  # fmt: skip
def test_after_signing_in_nobody_is_sent_to_another_site(place: people.Place, address: str) -> None:
    answer = Client().post("/login/", {"username": "dev", "password": people.PASSWORD, "next": address})

    assert answer.status_code == 302
    assert answer["Location"] == "/"
