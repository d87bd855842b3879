"""Readings of a project from git: the commit is told with each, and a failure never hides behind an old one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from migrations_audit.engine.git_transport import FetchRefused
from migrations_audit.execution import observing, places
from migrations_audit.models import Project, Snapshot
from migrations_audit.states import TargetStatus
from tests import people
from tests.conftest import MakeTargetDatabase
from tests.engine.repositories import GitServer, Repository

pytestmark = pytest.mark.django_db

FILES = {
    "alembic.ini": "[alembic]\nscript_location = db\n",
    "db/env.py": "",
    "db/versions/001.py": 'revision = "001"\ndown_revision = None\ndef upgrade():\n    pass\n',
}


@pytest.fixture
def server(tmp_path: Path, settings: Settings) -> Iterator[GitServer]:
    (tmp_path / "served").mkdir()
    served = GitServer(tmp_path / "served")
    settings.PORTAL_GIT_HOSTS = [served.host]
    settings.PORTAL_GIT_CA = str(served.ca)
    settings.PORTAL_CACHE = str(tmp_path / "cache")
    settings.PORTAL_GIT_FRESH_S = 600
    yield served
    served.close()


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository.create(server.root / "shop.git")


@pytest.fixture
def project(server: GitServer) -> Project:
    return Project.objects.create(
        slug="shop", name="Shop", source="git", folder=".", git_url=server.url("shop.git"), git_ref="main"
    )


def test_the_snapshot_keeps_its_first_commit_and_each_reading_its_own(repository: Repository, project: Project) -> None:
    first = repository.commit(FILES, subject="First")
    before = places.scripts_of(project, actor=people.WORKER)
    second = repository.commit(FILES, subject="Second")

    after = places.scripts_of(project, actor=people.WORKER)

    assert before.snapshot == after.snapshot
    assert (after.snapshot.commit["id"], after.commit["id"]) == (first, second)
    assert after.graph.heads == ("001",)


def test_a_check_takes_what_was_found_out_a_moment_ago_and_a_plan_asks_anew(
    repository: Repository, project: Project
) -> None:
    first = repository.commit(FILES)
    places.scripts_of(project, actor=people.WORKER)
    second = repository.commit(FILES | {"more.py": ""})

    assert places.scripts_of(project, actor=people.WORKER, fresh=False).commit["id"] == first
    assert places.scripts_of(project, actor=people.WORKER).commit["id"] == second


def test_a_reading_without_its_scripts_says_why_and_which_commit_is_kept(
    repository: Repository, project: Project, make_target_database: MakeTargetDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TARGET_URL", make_target_database("git_reading"))
    place = people.make_place(project=project)
    commit = repository.commit(FILES)
    read = observing.look(place.target, actor=people.WORKER, purpose="check").observation
    repository.git("update-ref", "-d", "refs/heads/main")

    unread = observing.look(place.target, actor=people.WORKER, purpose="plan").observation

    assert read.facts["commit"]["id"] == commit
    assert (unread.status, unread.error_code) == (TargetStatus.UNREADABLE_SCRIPTS, "git_no_such_ref")
    assert f"The newest commit whose files are kept is {commit[:7]} of main" in unread.sentence
    assert unread.snapshot is None
    assert unread.revisions is None


def test_nothing_is_kept_of_a_repository_that_was_never_read(server: GitServer, project: Project) -> None:
    with pytest.raises(FetchRefused) as caught:
        places.scripts_of(project, actor=people.WORKER)

    assert caught.value.code == "git_no_such_repository"
    assert "newest commit" not in caught.value.message
    assert not Snapshot.objects.exists()
