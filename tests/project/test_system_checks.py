"""The system checks see what they are there for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.checks import CheckMessage
from django.db import OperationalError, connection
from pytest_django import Settings

from migrations_audit import checks, sealing


def ids(found: list[CheckMessage]) -> list[str]:
    return [str(message.id) for message in found]


@pytest.mark.django_db
def test_every_trigger_of_the_records_is_known_and_on() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE NOT tgisinternal AND relname LIKE 'migrations\\_audit\\_%'"
        )
        present = {name for (name,) in cursor.fetchall()}

    assert present == checks.GUARDS
    assert present


@pytest.mark.django_db
def test_a_trigger_that_was_dropped_or_switched_off_is_named() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER auditevent_check_link ON migrations_audit_auditevent")
        cursor.execute("ALTER TABLE migrations_audit_plan DISABLE TRIGGER plan_append_only")

    found = checks.check_guards(databases=["default"])

    assert [message.msg.split()[2] for message in found if message.id == "portal.E006"] == [
        "auditevent_check_link",
        "plan_append_only",
    ]


@pytest.mark.django_db
def test_a_database_that_is_still_to_be_migrated_is_let_through() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'migrations_audit' AND name >= '0002'")
        cursor.execute("DROP TRIGGER plan_append_only ON migrations_audit_plan")

    assert checks.check_guards(databases=["default"]) == []


def test_a_database_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(alias: str) -> list[CheckMessage]:
        raise OperationalError("canary")

    monkeypatch.setattr(checks, "_missing_guards", unreachable)

    (found,) = checks.check_guards(databases=["default"])

    assert found.id == "portal.E005"
    assert "canary" not in str(found)


def test_without_a_database_asked_for_none_is_looked_at() -> None:
    assert checks.check_guards(databases=None) == []


def test_working_keys_pass_and_none_is_a_warning(settings: Settings) -> None:
    assert checks.check_sealing() == []

    settings.PORTAL_SEALING_KEYS = []

    assert ids(checks.check_sealing()) == ["portal.W001"]


def test_a_key_that_cannot_be_used_is_an_error_without_the_key(settings: Settings) -> None:
    settings.PORTAL_SEALING_KEYS = ["canary"]

    (found,) = checks.check_sealing()

    assert found.id == "portal.E001"
    assert "canary" not in str(found)


@pytest.mark.parametrize("sham", [lambda text, keys: text, lambda text, keys: f"gAAAA{text}"])
def test_sealing_that_is_silently_off_is_an_error(monkeypatch: pytest.MonkeyPatch, sham: Callable[..., str]) -> None:
    monkeypatch.setattr(sealing, "seal", sham)
    monkeypatch.setattr(sealing, "unseal", lambda token, keys: token.removeprefix("gAAAA"))

    assert ids(checks.check_sealing()) == ["portal.E002"]


@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        (["/srv/projects", "/opt/more/"], []),
        ([], ["portal.W002"]),
        (["srv/projects"], ["portal.E003"]),
        (["/srv/../etc"], ["portal.E003"]),
        (["/"], ["portal.E003"]),
        (["/srv", "."], ["portal.E003"]),
    ],
)
def test_roots_are_absolute_plain_paths(settings: Settings, roots: list[str], expected: list[str]) -> None:
    settings.PORTAL_PROJECT_ROOTS = roots

    assert ids(checks.check_project_roots()) == expected


@pytest.mark.parametrize(
    ("hosts", "cache", "expected"),
    [
        ([], "", []),
        (["git.example.org", "h:8443"], "/var/cache/opsportal", []),
        (["git.example.org"], "", ["portal.W003"]),
        (["https://git.example.org", "*"], "/var/cache/opsportal", ["portal.E007", "portal.E007"]),
        ([], "cache", ["portal.E008"]),
        ([], "/var/../cache", ["portal.E008"]),
    ],
)
def test_hosts_of_repositories_are_hosts_and_the_cache_is_a_folder(
    settings: Settings, hosts: list[str], cache: str, expected: list[str]
) -> None:
    settings.PORTAL_GIT_HOSTS, settings.PORTAL_CACHE, settings.PORTAL_PROJECT_ROOTS = hosts, cache, []

    assert ids(checks.check_repositories()) == expected
    assert ids(checks.check_project_roots()) == ([] if hosts else ["portal.W002"])


def test_a_broker_that_is_no_redis_is_an_error_without_its_address(settings: Settings) -> None:
    assert checks.check_broker() == []
    settings.REDIS_URL = "amqp://u:canary@h"

    (found,) = checks.check_broker()

    assert found.id == "portal.E004"
    assert "canary" not in str(found)
