"""The commands, as a shell sees them: what they print and how they end."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from tests import people


@dataclass(frozen=True)
class Ended:
    """How a command ended. ``err`` also holds the sentence of a refusal."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def place(db: None, settings: Settings) -> people.Place:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return people.make_place()


@pytest.fixture
def run() -> Run:
    """Run a command with arguments as typed."""

    def command(name: str, *arguments: object) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command(name, *map(str, arguments), stdout=out, stderr=err, no_color=True)
            code = 0
        except SystemExit as ended:
            code = int(str(ended.code))
        except CommandError as refused:
            code = refused.returncode
            err.write(str(refused))
        return Ended(code, out.getvalue(), err.getvalue())

    return command
