"""A project from a git repository, driven through the whole portal: what was approved is what runs, wherever the branch goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from migrations_audit.actions import approvals, runs
from migrations_audit.models import MigrationRun, Project
from migrations_audit.models.projects import Source
from tests import people
from tests.acceptance.portal import Portal
from tests.acceptance.test_upgrades import tables
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.engine.repositories import GitServer, Repository

TOKEN = "token-canary-77120"


@dataclass
class Forge:
    """A git server that the portal's worker may ask, and the URL of a repository on it."""

    server: GitServer
    repository: Repository

    @property
    def url(self) -> str:
        return self.server.url("shop.git")

    def push(self, folder: Path, *tables: str, subject: str = "Add a table", more: str = "") -> str:
        """Let main lead to a project that creates these tables; returns the commit's id."""
        project = runnable.write(folder / subject.replace(" ", "-"), runnable.chain(*tables))
        files = {
            f"services/shop/{path.relative_to(project)}": path.read_text() + more
            for path in project.rglob("*")
            if path.is_file()
        }
        return self.repository.commit(files, subject=subject)


@pytest.fixture(scope="module")
def forge(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    folder = tmp_path_factory.mktemp("forge")
    server = GitServer(folder, token=TOKEN)
    portal.workers.kill(portal.workers.processes[-1])
    portal.workers.start(
        PORTAL_GIT_HOSTS=server.host,
        PORTAL_GIT_CA=str(server.ca),
        PORTAL_CACHE=str(tmp_path_factory.mktemp("cache")),
        SHOP_TOKEN=TOKEN,
    )
    yield Forge(server, Repository.create(folder / "shop.git"))
    server.close()


@pytest.fixture
def target_url(make_target_database: MakeTargetDatabase) -> str:
    return make_target_database("git")


@pytest.fixture
def place(portal: Portal, forge: Forge, target_url: str) -> people.Place:
    placed = portal.register(target_url, Path("services/shop"))
    Project.objects.filter(pk=placed.project.pk).update(
        source=Source.GIT, git_url=forge.url, git_ref="main", git_key="env:SHOP_TOKEN"
    )
    placed.project.refresh_from_db()
    return placed


def start(place: people.Place, run: MigrationRun) -> None:
    assert run.plan is not None, run.sentence
    people.approve_by_all(place, run.number, run.plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)


def page(place: people.Place, view: str, pk: int) -> str:
    client = Client()
    client.force_login(place.people["viewer"])
    return client.get(reverse(view, args=[pk])).content.decode()


def test_an_upgrade_from_a_branch_is_verified_and_names_its_commit(
    portal: Portal, forge: Forge, place: people.Place, tmp_path: Path
) -> None:
    commit = forge.push(tmp_path, "users", "orders")

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.plan is not None
    assert run.plan.snapshot.commit["id"] == commit
    shown = page(place, "web:run", run.number)
    assert f'commit <code title="{commit}">{commit[:7]}</code> of <code>main</code>, by Ann Author' in shown
    assert commit[:7] in page(place, "web:target", place.target.pk)
    assert TOKEN not in shown + portal.workers.said()


def test_who_wrote_a_pending_revision_cannot_approve_it_whoever_made_the_newest_commit(
    portal: Portal, forge: Forge, place: people.Place, tmp_path: Path
) -> None:
    project = runnable.write(tmp_path / "project", runnable.chain("users"))
    files = {
        f"services/shop/{path.relative_to(project)}": path.read_text() for path in project.rglob("*") if path.is_file()
    }
    wrote = forge.repository.commit(files, author="Owner")
    forge.repository.commit(files | {"README.md": "Hello."}, author="Somebody", parents=[wrote])

    run = portal.planned(place)

    assert run.plan is not None, run.sentence
    assert [(each["author"], each["id"]) for each in run.plan.authors] == [("Owner", wrote)]
    with pytest.raises(approvals.CommitAuthor, match=f"owner wrote migrations/versions/r1.py in commit {wrote[:7]}"):
        approvals.approve(actor=place.actor("owner"), number=run.number, digest=run.plan.digest)


def test_a_branch_that_leads_to_other_scripts_voids_the_approval(
    portal: Portal, forge: Forge, place: people.Place, target_url: str, tmp_path: Path
) -> None:
    forge.push(tmp_path, "users")
    run = portal.planned(place)
    forge.push(tmp_path, "users", subject="Rewrite", more="# another\n")

    start(place, run)

    ended = portal.until(run.number, "void")
    assert ended.reason_code == "scripts_changed"
    assert tables(target_url) == set()


def test_a_branch_that_moved_to_the_same_scripts_is_fine(
    portal: Portal, forge: Forge, place: people.Place, tmp_path: Path
) -> None:
    forge.push(tmp_path, "users", subject="First")
    run = portal.planned(place)
    forge.push(tmp_path, "users", subject="Only another message")

    start(place, run)

    assert portal.until(run.number, "applied", "void", "refused").verdict == "verified"


def test_a_repository_that_does_not_open_refuses_the_run_and_says_which_commit_is_kept(
    portal: Portal, forge: Forge, place: people.Place, target_url: str, tmp_path: Path
) -> None:
    commit = forge.push(tmp_path, "users")
    run = portal.planned(place)
    forge.server.token = "changed"

    start(place, run)

    ended = portal.until(run.number, "refused", "void", "applied")
    forge.server.token = TOKEN
    assert (ended.state, ended.reason_code) == ("refused", "git_authentication")
    assert f"The newest commit whose files are kept is {commit[:7]} of main" in ended.sentence
    assert tables(target_url) == set()
