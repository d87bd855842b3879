"""Requests that somebody else made up: frames, hosts, addresses, forms of another site, links; and unsafe starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from migrations_audit.models import MigrationRun
from tests import people
from tests.faces.web.visitor import Visitor, events
from tests.security.test_sessions import signed_in
from tests.unit.test_environment import start

ROOT = Path(__file__).resolve().parent.parent.parent


def test_nobody_frames_a_page(place: people.Place) -> None:
    client = signed_in(place)

    for path in ("/", "/login/", f"/runs/{people.make_run(place).number}/", "/api/v1/docs", "/no/such/page"):
        answer = client.get(path)
        assert answer["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


def test_a_forged_host_is_refused_and_another_forwarded_one_is_not_read(place: people.Place) -> None:
    client = signed_in(place)

    assert client.get("/", HTTP_HOST="evil.example").status_code == 400
    assert b"evil.example" not in client.get("/", HTTP_X_FORWARDED_HOST="evil.example").content
    forged = Client().get("/", HTTP_X_FORWARDED_HOST="evil.example")
    assert forged["Location"] == "/login/?next=/"


@pytest.mark.parametrize(
    ("proxies", "sent", "believed"),
    [
        (0, "203.0.113.9", "192.0.2.1"),
        (1, "", "192.0.2.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9, 192.0.2.7", "203.0.113.9"),
        (2, "203.0.113.9", "203.0.113.9"),
        (1, "[2001:db8::9]:4711", "2001:db8::9"),
        (1, "203.0.113.9:4711", "203.0.113.9"),
        (1, "<script>", "192.0.2.1"),
        (1, "unknown", "192.0.2.1"),
    ],
)
def test_only_what_our_own_proxies_wrote_is_taken_for_the_address(
    place: people.Place, settings: Settings, no_counts: None, proxies: int, sent: str, believed: str
) -> None:
    settings.PORTAL_TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": sent} if sent else {}

    Client().post("/login/", {"username": "dev", "password": "wrong"}, REMOTE_ADDR="192.0.2.1", headers=headers)

    (event,) = events("user.sign_in_failed")
    assert event.facts["actor"]["address"] == believed


def test_a_forged_address_does_not_reset_the_throttle(place: people.Place, no_counts: None) -> None:
    codes = [
        Client()
        .post("/login/", {"username": "dev", "password": "wrong"}, HTTP_X_FORWARDED_FOR=f"203.0.113.{n}")
        .status_code
        for n in range(11)
    ]

    assert codes == [200] * 10 + [429]


@pytest.mark.parametrize("name", ["compose.yaml", "docs/deploy.md", "opsportal/local/demo.py"])
def test_uvicorn_leaves_the_forwarded_headers_to_the_portal(name: str) -> None:
    commands = [part[:400] for part in (ROOT / name).read_text().split("opsportal.asgi:application")[1:]]

    assert commands
    assert all("--no-proxy-headers" in command for command in commands)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "multipart/form-data", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize("verb", ["approve", "reject", "start", "cancel", "withdraw", "take-back"])
def test_another_site_cannot_press_a_button_with_any_kind_of_body(
    place: people.Place, verb: str, content_type: str
) -> None:
    run = people.make_run(place, state="approved")
    assert run.plan is not None
    client = Client(enforce_csrf_checks=True)
    client.force_login(place.people["operator"])
    body = json.dumps({"digest": run.plan.digest}) if "form" not in content_type else f"digest={run.plan.digest}"

    answer = client.generic(
        "POST", f"/runs/{run.number}/{verb}", body, content_type=content_type, HTTP_ORIGIN="https://evil.example"
    )

    assert answer.status_code == 403
    assert MigrationRun.objects.get().state == "approved"


def test_a_session_does_not_count_at_the_api_so_that_nothing_can_be_forged_there(place: people.Place) -> None:
    client = signed_in(place, "dev")

    answer = client.post("/api/v1/runs", json.dumps({"target": "1"}), content_type="text/plain")

    assert answer.status_code == 401
    assert not MigrationRun.objects.exists()


def test_a_link_in_a_mail_that_a_scanner_opens_decides_nothing(place: people.Place) -> None:
    run = people.make_run(place, state="awaiting_approval")
    scanner = Visitor(None)

    for verb in ("approve", "reject", "start"):
        assert scanner.get(f"/runs/{run.number}/{verb}").status == 302
        assert Visitor(place.people["dba"]).get(f"/runs/{run.number}/{verb}").status == 303

    assert MigrationRun.objects.get().state == "awaiting_approval"


def test_sealing_that_is_off_stops_the_start_of_every_process() -> None:
    script = """
import cryptography.fernet
class Plain:
    def __init__(self, *_): pass
    def encrypt(self, text): return b"gAAAA" + text * 9
    def decrypt(self, token): return token[5:37]
cryptography.fernet.MultiFernet = Plain
from opsportal.asgi import application
print("started")
"""
    off, on = start(script=script), start(script="from opsportal.asgi import application; print('started')")

    assert "ImproperlyConfigured: PORTAL_SEALING_KEYS" in off.stderr
    assert "started" not in off.stdout
    assert "started" in on.stdout, on.stderr


def test_a_key_that_cannot_be_used_stops_the_start_without_being_repeated() -> None:
    refused = start(PORTAL_SEALING_KEYS="canary-key", script="from opsportal.asgi import application")

    assert "ImproperlyConfigured: PORTAL_SEALING_KEYS" in refused.stderr
    assert "canary" not in refused.stderr
