"""Projects from git and interpreters from requirements in the registry; the repository's key is never told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_django import Settings

from migrations_audit import sealing
from migrations_audit.actions import registry
from migrations_audit.actors import Actor
from migrations_audit.models import AuditEvent, Project
from tests.domain import registering, trail
from tests.domain.registering import PROJECT, refused

pytestmark = pytest.mark.django_db

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nkey-canary-4411\n-----END OPENSSH PRIVATE KEY-----"
GIT: dict[str, Any] = PROJECT | {
    "source": "git",
    "folder": "services/shop",
    "git_url": "https://git.example.org/team/shop.git",
    "git_ref": "main",
}


@pytest.fixture(autouse=True)
def _ground(settings: Settings) -> None:
    registering.prepare(settings)
    settings.PORTAL_GIT_HOSTS = ["git.example.org"]


@pytest.fixture
def root() -> Actor:
    return registering.superuser()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"folder": "."},
        {"git_ref": "refs/tags/v1.2"},
        {"git_url": "ssh://git@git.example.org/shop", "git_key": "file:/run/secrets/key"},
    ],
)
def test_a_project_from_git_is_stored_and_bound_by_approvals(root: Actor, change: dict[str, Any]) -> None:
    project = registry.save_project(actor=root, **GIT | change)

    facts = project.approved_facts()
    assert {name: facts[name] for name in ("source", "git_url", "git_ref", "folder")} == {
        name: (GIT | change)[name] for name in ("source", "git_url", "git_ref", "folder")
    }
    assert "git_key" not in facts


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("git_url", "", "Say where the repository is"),
        ("git_url", "https://elsewhere.example/shop", "PORTAL_GIT_HOSTS"),
        ("git_url", "https://git.example.org:8443/shop", "PORTAL_GIT_HOSTS"),
        ("git_url", "file:///srv/shop.git", "not by file"),
        ("git_url", "ext::sh -c id", "not by ext"),
        ("git_url", "git@git.example.org:shop", "ssh://git@host/path"),
        ("git_url", "https://u:canary-9@git.example.org/x", "holds a password"),
        ("git_url", "https://ghp_0123456789abcdef@git.example.org/x", "looks like a token"),
        ("git_ref", "", "Name a branch"),
        ("git_ref", "--upload-pack=x", "not the name of a branch"),
        ("git_ref", "refs/pull/1/head", "Only branches, tags and commits"),
        ("git_ref", "abc1234", "shortened commit"),
        ("folder", "/srv/projects/shop", "relative to its root"),
        ("folder", "../shop", "relative path without"),
        ("folder", "shop/", "relative path without"),
        ("git_key", "canary-9", "not a reference"),
        ("git_key", "env:DATABASE_URL", "not a reference"),
    ],
)
def test_a_repository_that_a_worker_would_not_follow_is_refused(
    root: Actor, field: str, value: str, words: str
) -> None:
    sentence = refused(registry.save_project, actor=root, field=field, **GIT | {field: value})

    assert words in sentence
    assert "canary-9" not in sentence


def test_without_hosts_no_repository_is_accepted(root: Actor, settings: Settings) -> None:
    settings.PORTAL_GIT_HOSTS = []

    assert "PORTAL_GIT_HOSTS is empty" in refused(registry.save_project, actor=root, field="git_url", **GIT)


def test_ssh_without_a_key_is_refused(root: Actor) -> None:
    over_ssh = GIT | {"git_url": "ssh://git@git.example.org/shop"}

    assert "needs a private key" in refused(registry.save_project, actor=root, field="git_key", **over_ssh)


@pytest.mark.parametrize("field", ["git_url", "git_ref", "git_key"])
def test_what_belongs_to_a_repository_is_refused_for_a_folder(root: Actor, field: str) -> None:
    values = {"git_url": GIT["git_url"], "git_ref": "main", "git_key": "env:SHOP_KEY"}

    assert "belongs to a git repository" in refused(
        registry.save_project, actor=root, field=field, **PROJECT, **{field: values[field]}
    )


def test_a_new_key_is_sealed_kept_replaced_and_removed_and_never_told(root: Actor, settings: Settings) -> None:
    made = registry.save_project(actor=root, **GIT, new_git_key=KEY.replace("\n", "\r\n"))
    first = Project.objects.get(pk=made.pk).git_key

    opened = sealing.unseal(first.removeprefix("sealed:"), keys=settings.PORTAL_SEALING_KEYS)
    registry.save_project(actor=root, project_id=made.pk, name="Other")
    registry.save_project(actor=root, project_id=made.pk, new_git_key="token-canary-4412")
    second = trail.last("project.changed").facts["facts"]["changed"]
    kept = Project.objects.get(pk=made.pk).git_key
    registry.save_project(actor=root, project_id=made.pk, remove_git_key=True)

    assert opened == KEY
    assert kept not in ("", first)
    assert second == {"git_key": {"old": "sealed value", "new": "sealed value changed"}}
    assert Project.objects.get(pk=made.pk).git_key == ""
    told = json.dumps([event.facts for event in AuditEvent.objects.all()])
    assert "canary" not in told
    assert first not in told
    assert kept not in told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"new_git_key": "x" * 2_501}, "too long to be sealed"),
        ({"new_git_key": "two\nlines"}, "A token is one line"),
        ({"new_git_key": "a\x00b"}, "printable"),
        ({"new_git_key": "a", "git_key": "env:SHOP_KEY"}, "one of the three"),
        ({"remove_git_key": True, "git_key": "env:SHOP_KEY"}, "one of the three"),
    ],
)
def test_a_key_that_cannot_be_kept_is_refused(root: Actor, given: dict[str, Any], words: str) -> None:
    assert words in refused(registry.save_project, actor=root, **GIT, **given)


@pytest.mark.parametrize("path", ["uv.lock", "db/uv.lock", "requirements.txt", "locks/production.lock"])
def test_a_built_interpreter_is_stored_with_its_requirements(root: Actor, path: str) -> None:
    project = registry.save_project(actor=root, **PROJECT, interpreter="uv", requirements=path)

    assert project.approved_facts()["requirements"] == path


@pytest.mark.parametrize(
    ("interpreter", "path", "words"),
    [
        ("uv", "", "Name the uv.lock"),
        ("uv", "/srv/requirements.txt", "relative to the folder"),
        ("uv", "../requirements.txt", "relative to the folder"),
        ("uv", "-r.txt", "relative to the folder"),
        ("uv", "setup.py", "ends in .txt or .lock"),
        ("uv", "https://h/x.txt", "relative to the folder"),
        ("", "requirements.txt", "that a worker builds"),
        ("py312", "requirements.txt", "that a worker builds"),
    ],
)
def test_requirements_that_do_not_fit_the_interpreter_are_refused(
    root: Actor, interpreter: str, path: str, words: str
) -> None:
    assert words in refused(
        registry.save_project, actor=root, field="requirements", **PROJECT, interpreter=interpreter, requirements=path
    )
