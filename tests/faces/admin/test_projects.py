"""Projects through the admin's forms."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from migrations_audit.models import Project
from tests import people
from tests.domain import trail
from tests.faces.admin.conftest import SignIn
from tests.faces.admin.pages import add_url, change_url, delete_url, errors, fields, list_url, submit, text


def test_a_superuser_registers_a_project(sign_in: SignIn) -> None:
    page = submit(
        sign_in("root"),
        add_url(Project),
        name="Shop",
        slug="shop",
        folder="/srv/shop",
        interpreter="py312",
        url_delivery="x_argument",
        url_delivery_name="db_url",
        extra_environment="APP_ENV = ops\nEMPTY=\n",
        version_table_schema="audit",
    )

    assert "” was added" in text(page)
    project = Project.objects.get(slug="shop")
    assert project.extra_environment == {"APP_ENV": "ops", "EMPTY": ""}
    assert (project.interpreter, project.config_path, project.version_table_schema) == ("py312", "alembic.ini", "audit")
    assert trail.last("project.created").object_id == "shop"


def test_a_project_is_shown_as_it_was_entered_and_changes_by_field(sign_in: SignIn, place: people.Place) -> None:
    client, url = sign_in("root"), change_url(place.project)
    submit(client, url, extra_environment="A=1")

    shown = fields(client, url)["extra_environment"]
    submit(client, url, driver="postgresql+asyncpg")

    assert shown == ["A=1"]
    assert list(trail.last("project.changed").facts["facts"]["changed"]) == ["driver"]


def test_a_project_from_git_is_registered_and_its_key_is_never_shown_again(sign_in: SignIn, settings: Settings) -> None:
    settings.PORTAL_GIT_HOSTS = ["git.example.org"]
    client = sign_in("root")
    page = submit(
        client,
        add_url(Project),
        name="Shop",
        slug="shop",
        source="git",
        folder="services/shop",
        git_url="ssh://git@git.example.org/shop.git",
        git_ref="main",
        new_git_key="-----BEGIN KEY-----\r\nkey-canary-8821\r\n-----END KEY-----",
    )
    project = Project.objects.get(slug="shop")
    again = client.get(change_url(project))

    assert "” was added" in text(page)
    assert project.git_key.startswith("sealed:")
    assert "sealed value" in text(again)
    for shown in (page, again, client.get(list_url(Project))):
        assert "key-canary-8821" not in shown.content.decode()
        assert project.git_key not in shown.content.decode()


def test_a_key_that_was_refused_does_not_come_back_to_the_screen(sign_in: SignIn, place: people.Place) -> None:
    page = submit(
        sign_in("root"), change_url(place.project), git_key="key-canary-8822", new_git_key="two\nkey-canary-8823"
    )

    assert "one of the three" in errors(page)
    assert "key-canary" not in page.content.decode()


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("folder", "/etc", "under one of PORTAL_PROJECT_ROOTS: /srv"),
        ("folder", "/srv/../etc", "absolute path without"),
        ("git_url", "https://git.example.org/x", "belongs to a git repository"),
        ("git_key", "env:SHOP_KEY", "belongs to a git repository"),
        ("source", "git", "Say where the repository is"),
        ("requirements", "uv.lock", "that a worker builds"),
        ("interpreter", "uv", "Name the uv.lock"),
        ("config_path", "../alembic.ini", "relative to the folder"),
        ("ini_section", "x]", "An ini section is named"),
        ("interpreter", "/bin/sh", "Select a valid choice"),
        ("url_delivery", "environment", "Give the variable's name"),
        ("url_delivery_name", "DATABASE_URL", "Give the variable's name"),
        ("extra_environment", "A=1\nnonsense", "Line 2 is not a variable"),
        ("extra_environment", "A=1\nA=2", "Line 2 names a variable that an earlier line names"),
        ("extra_environment", "LD_PRELOAD=/x.so", "LD_PRELOAD is not given to a project"),
        ("extra_environment", "OTHER=postgresql://u:hunter2@h/db", "This held a password"),
        ("extra_environment", "DSN=host=h password=hunter2", "This held a password"),
        ("version_table", "a.b", "without dots"),
        ("slug", "Shop Two", "slug"),
        ("slug", "Shop", "lower-case letters"),
    ],
)
def test_nonsense_is_refused_with_a_sentence_and_nothing_is_stored(
    sign_in: SignIn, place: people.Place, field: str, typed: str, sentence: str
) -> None:
    before = trail.head()

    page = submit(sign_in("root"), change_url(place.project), **{field: typed})

    assert sentence in errors(page)
    assert "hunter2" not in page.content.decode()
    assert trail.head() == before


def test_a_viewer_sees_the_projects_of_the_own_targets_only(sign_in: SignIn, place: people.Place) -> None:
    hidden = Project.objects.create(slug="hidden", name="Hidden", folder="/srv/hidden")

    assert "Hidden" not in text(sign_in("viewer").get(list_url(Project)))
    assert "Hidden" in text(sign_in("admin").get(list_url(Project)))
    assert sign_in("viewer").get(change_url(hidden)).status_code == 302


def test_an_administrator_of_an_environment_does_not_change_a_project(sign_in: SignIn, place: people.Place) -> None:
    answer = sign_in("admin").post(change_url(place.project), {"folder": "/srv/mine"})

    assert answer.status_code == 403
    trail.denied(verb="admin.project.change", code="denied")


def test_a_project_with_targets_is_not_deleted(sign_in: SignIn, place: people.Place) -> None:
    page = sign_in("root").post(delete_url(place.project), {"post": "yes"}, follow=True)

    assert "Market has 1 target" in text(page)
    assert Project.objects.filter(pk=place.project.pk).exists()


def test_a_short_name_on_record_is_shown_and_not_asked_for(sign_in: SignIn, place: people.Place) -> None:
    people.observe(place)

    assert "slug" not in fields(sign_in("root"), change_url(place.project))
