"""A project's launcher in the registry."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from migrations_audit.actions import registry
from migrations_audit.actors import Actor
from tests.domain import registering
from tests.domain.registering import PROJECT, refused

pytestmark = pytest.mark.django_db

BY_COMMAND: dict[str, Any] = {
    "launcher": "command",
    "url_delivery": "environment",
    "url_delivery_name": "SHOP_DATABASE_URL",
}


@pytest.fixture(autouse=True)
def _ground(settings: Settings) -> None:
    registering.prepare(settings)


@pytest.fixture
def root() -> Actor:
    return registering.superuser()


@pytest.mark.parametrize(
    "command",
    [
        ["flask", "--app", "shop", "db", "{direction}", "{revision}"],
        ["-m", "shop.migrate", "{direction}"],
        ["tools/migrate.py", "--to={revision}"],
    ],
)
def test_a_command_is_stored_word_by_word_and_bound_by_approvals(root: Actor, command: list[str]) -> None:
    project = registry.save_project(actor=root, **PROJECT, **BY_COMMAND, command=command)

    assert project.approved_facts()["command"] == command


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "one word per line"),
        (["/usr/bin/flask", "db"], "console script"),
        (["../migrate.py"], "console script"),
        (["--app", "x"], "console script"),
        (["-m"], "name of a module"),
        (["-m", "--help"], "name of a module"),
        (["flask", "{target}"], "Only {direction} and {revision}"),
        (["flask", "a\x1bb"], "printable"),
        (["flask"] * 51, "At most 50 words"),
        (["flask", "--url=postgresql://u:hunter2@h/db"], "holds a password"),
    ],
)
def test_a_command_that_could_not_be_called_is_refused(root: Actor, command: list[str], words: str) -> None:
    call = PROJECT | BY_COMMAND | {"command": command}

    assert words in refused(registry.save_project, field="command", actor=root, **call)


def test_a_command_takes_its_url_from_the_environment(root: Actor) -> None:
    call = PROJECT | {"launcher": "command", "command": ["flask", "db"]}

    assert "environment variable" in refused(registry.save_project, field="url_delivery", actor=root, **call)


def test_alembic_as_the_launcher_has_no_command(root: Actor) -> None:
    call = PROJECT | {"command": ["flask", "db"]}

    assert "Empty it" in refused(registry.save_project, field="command", actor=root, **call)


def test_further_x_arguments_are_stored(root: Actor) -> None:
    project = registry.save_project(actor=root, **PROJECT, x_arguments=["tenant=main", "verbose"])

    assert project.approved_facts()["x_arguments"] == ["tenant=main", "verbose"]


@pytest.mark.parametrize("argument", ["=x", "a b=c", "url=postgresql://u:hunter2@h/db"])
def test_odd_x_arguments_are_refused(root: Actor, argument: str) -> None:
    words = "key=value" if "hunter2" not in argument else "holds a password"

    assert words in refused(
        registry.save_project, field="x_arguments", actor=root, **PROJECT | {"x_arguments": [argument]}
    )
