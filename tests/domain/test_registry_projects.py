"""Projects in the registry: what a worker could use is accepted, what leads out of the project is not."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from migrations_audit.actions import registry
from migrations_audit.actions.registry_entries import NoSuchEntry
from migrations_audit.actors import Actor
from tests import people
from tests.domain import registering, trail
from tests.domain.registering import CANARY, PROJECT, URL, refused

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ground(settings: Settings) -> None:
    registering.prepare(settings)


@pytest.fixture
def root() -> Actor:
    return registering.superuser()


def test_a_project_is_stored_with_its_way_of_delivery(root: Actor) -> None:
    project = registry.save_project(
        actor=root,
        **PROJECT,
        url_delivery="environment",
        url_delivery_name="DATABASE_URL",
        extra_environment={"APP": "x"},
    )

    assert project.approved_facts()["url_delivery_name"] == "DATABASE_URL"
    assert trail.last("project.created").facts["facts"]["settings"]["extra_environment"] == {"APP": "x"}


@pytest.mark.parametrize("folder", ["/srv/projects", "/srv/projects/a b/c", "/opt/more/x"])
def test_a_folder_under_a_root_is_accepted_without_being_opened(root: Actor, folder: str) -> None:
    assert registry.save_project(actor=root, **PROJECT | {"folder": folder}).folder == folder


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("folder", "/etc", "PORTAL_PROJECT_ROOTS"),
        ("folder", "/srv/projects/../../etc", "absolute path"),
        ("folder", "/srv/projectsx/shop", "PORTAL_PROJECT_ROOTS"),
        ("folder", "//srv/projects/shop", "absolute path"),
        ("folder", "srv/projects/shop", "absolute path"),
        ("folder", "/srv/projects/shop/", "absolute path"),
        ("folder", "/srv/projects/sh\x00op", "printable"),
        ("config_path", "../alembic.ini", "relative"),
        ("config_path", "/srv/projects/alembic.ini", "relative"),
        ("config_path", "-c/alembic.ini", "relative"),
        ("config_path", "package:alembic.ini", "ends in .ini"),
        ("config_path", "env.py", "ends in .ini"),
        ("ini_section", "alembic]\n[x", "printable"),
        ("ini_section", "DEFAULT", "DEFAULT is not one"),
        ("interpreter", "/usr/bin/python", "PORTAL_INTERPRETERS"),
        ("url_delivery_name", "DATABASE_URL", "needs no name"),
        ("extra_environment", {"AWS_SECRET_ACCESS_KEY": "x"}, "named like a secret"),
        ("extra_environment", {"DB_PASSWORD": "x"}, "named like a secret"),
        ("extra_environment", {"A B": "x"}, "letters, digits"),
        ("extra_environment", {"A": "x\ny"}, "printable"),
        ("extra_environment", {"A": "x" * 2_001}, "2,000"),
        ("extra_environment", {f"V{n}": "" for n in range(51)}, "at most 50"),
        ("extra_environment", {"A": 1}, "maps names to texts"),
        ("extra_environment", ["A=1"], "maps names to texts"),
        ("version_table", "", ""),
        ("version_table", "é" * 32, "63 bytes"),
        ("version_table", "app.alembic_version", "without dots"),
        ("version_table_schema", 'a"b', "without dots"),
        ("driver", "mysql", "not a valid choice"),
    ],
)
def test_a_project_that_a_worker_could_not_use_is_refused(root: Actor, field: str, value: object, words: str) -> None:
    assert words in refused(registry.save_project, actor=root, field=field, **PROJECT | {field: value})


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "LD_PRELOAD",
        "PGSERVICEFILE",
        "PGPASSFILE",
        "ALEMBIC_CONFIG",
        "SECRET_KEY",
        "REDIS_URL",
        "PORTAL_SEALING_KEYS",
        "pythonpath",
    ],
)
def test_a_variable_that_decides_what_is_loaded_or_reached_is_refused(root: Actor, name: str) -> None:
    delivered = PROJECT | {"url_delivery": "environment", "url_delivery_name": name}

    refused(registry.save_project, actor=root, field="url_delivery_name", **delivered)
    refused(registry.save_project, actor=root, field="extra_environment", **PROJECT, extra_environment={name: "x"})


@pytest.mark.parametrize("value", [URL, f"redis://:{CANARY}@h/0", f"host=db password={CANARY}"])
def test_a_password_in_the_extra_environment_is_refused_without_repeating_it(root: Actor, value: str) -> None:
    sentence = refused(registry.save_project, actor=root, **PROJECT, extra_environment={"OTHER": value})

    assert CANARY not in sentence
    assert "URL reference" in sentence


def test_a_password_in_any_text_is_refused_without_repeating_it(root: Actor) -> None:
    assert CANARY not in refused(registry.save_project, actor=root, field="name", **PROJECT | {"name": URL})


def test_a_project_with_snapshots_stays_and_a_fresh_one_goes(root: Actor) -> None:
    place = people.make_place()
    people.make_snapshot(place.project)
    registry.remove_target(actor=root, target_id=place.target.pk)
    fresh = registry.save_project(actor=root, **PROJECT)

    registry.remove_project(actor=root, project_id=fresh.pk)

    assert "a record" in refused(registry.remove_project, registry.HasHistory, actor=root, project_id=place.project.pk)
    assert trail.last("project.removed").object_id == "shop"


def test_without_roots_no_folder_is_accepted(root: Actor, settings: Settings) -> None:
    settings.PORTAL_PROJECT_ROOTS = []

    assert "PORTAL_PROJECT_ROOTS is empty" in refused(registry.save_project, actor=root, field="folder", **PROJECT)


def test_an_entry_that_is_gone_is_named_as_such(root: Actor) -> None:
    with pytest.raises(NoSuchEntry):
        registry.save_project(actor=root, project_id=999_999, name="x")
