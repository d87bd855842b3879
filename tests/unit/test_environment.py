"""The settings' own reading of the environment, and one real start that is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from opsportal import environment

GOOD: dict[str, Any] = {
    "mode": "production",
    "secret_key": "k" * environment.SHORTEST_SECRET_KEY,
    "debug": False,
    "allowed_hosts": ["portal.example.org"],
    "sealing_keys": ["a-key"],
}


def test_a_careful_production_starts() -> None:
    environment.refuse_unsafe(**GOOD)


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("SECRET_KEY", {"secret_key": "short-canary"}),
        ("SECRET_KEY", {"secret_key": "django-insecure-canary" + "x" * 60}),
        ("SECRET_KEY", {"secret_key": "ChangeMe-canary" + "x" * 60}),
        ("DEBUG", {"debug": True}),
        ("ALLOWED_HOSTS", {"allowed_hosts": ["portal.example.org", "*"]}),
        ("ALLOWED_HOSTS", {"allowed_hosts": []}),
        ("PORTAL_SEALING_KEYS", {"sealing_keys": []}),
        ("PORTAL_MODE", {"mode": "prod"}),
    ],
)
def test_an_unsafe_production_is_refused_and_the_setting_is_named(setting: str, change: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match=setting) as caught:
        environment.refuse_unsafe(**GOOD | change)

    assert "canary" not in str(caught.value).lower()


@pytest.mark.parametrize("mode", ["demo", "test"])
def test_the_other_modes_start_with_less(mode: str) -> None:
    environment.refuse_unsafe(mode=mode, secret_key="x", debug=mode == "test", allowed_hosts=["*"], sealing_keys=[])


def test_the_demo_refuses_debug_for_its_pages_show_settings() -> None:
    with pytest.raises(ImproperlyConfigured, match="DEBUG"):
        environment.refuse_unsafe(mode="demo", secret_key="x", debug=True, allowed_hosts=["*"], sealing_keys=[])


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgresql+asyncpg", "postgres", "postgresql"])
def test_a_url_in_sqlalchemys_spelling_is_accepted(scheme: str) -> None:
    assert environment.database_url(f"{scheme}://u:p@h:5432/db?sslmode=require") == (
        "postgresql://u:p@h:5432/db?sslmode=require"
    )


@pytest.mark.parametrize("text", ["mysql://u:canary@h/db", "sqlite:///canary", "canary", ""])
def test_another_database_is_refused_without_repeating_the_url(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as caught:
        environment.database_url(text)

    assert "canary" not in str(caught.value)


def test_named_paths_are_read_by_name() -> None:
    read = environment.named_paths(["py311=/usr/bin/python3.11", " ", " py312=/opt/py312/bin/python"], setting="X")

    assert read["py311"] == "/usr/bin/python3.11"
    assert read["py312"] == "/opt/py312/bin/python"


@pytest.mark.parametrize("entry", ["/usr/bin/python3", "py311=python3", "=/usr/bin/python3"])
def test_an_entry_that_is_no_named_path_is_refused(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="PORTAL_INTERPRETERS"):
        environment.named_paths([entry], setting="PORTAL_INTERPRETERS")


def test_the_name_of_a_built_interpreter_is_taken() -> None:
    with pytest.raises(ImproperlyConfigured, match="built by a worker"):
        environment.named_paths(["uv=/usr/bin/python3"], setting="PORTAL_INTERPRETERS")


SHOW = "from opsportal import settings; print(settings.DATABASES['default']['NAME'], settings.SESSION_COOKIE_SECURE)"


def start(*, script: str = SHOW, **changes: str) -> subprocess.CompletedProcess[str]:
    """Read the settings in a process of their own, as a production start does."""
    variables = {
        "PATH": os.environ["PATH"],
        "PORTAL_MODE": "production",
        "SECRET_KEY": "canary-" + "k" * environment.SHORTEST_SECRET_KEY,
        "ALLOWED_HOSTS": "portal.example.org",
        "PORTAL_SEALING_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "DATABASE_URL": "postgresql+psycopg://u:canary@127.0.0.1:1/portal",
        "REDIS_URL": "redis://:canary@127.0.0.1:1/0",
    }
    return subprocess.run(
        [sys.executable, "-c", script], env=variables | changes, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_production_process_starts_with_everything_set() -> None:
    started = start()

    assert (started.returncode, started.stdout.split()) == (0, ["portal", "True"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("SECRET_KEY", "canary"), ("DEBUG", "true"), ("ALLOWED_HOSTS", "*"), ("PORTAL_SEALING_KEYS", "")],
)
def test_a_production_process_with_an_unsafe_setting_does_not_start(setting: str, value: str) -> None:
    refused = start(**{setting: value})

    assert refused.returncode != 0
    assert f"ImproperlyConfigured: {setting} " in refused.stderr
    assert "canary" not in refused.stderr + refused.stdout
