"""Which Python runs a project's scripts, and who may have one built."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest
from pytest_django import Settings

from migrations_audit import hashchain
from migrations_audit.actions import evidence
from migrations_audit.engine.requirements import BuildRefused
from migrations_audit.execution import places
from migrations_audit.models import Project, Snapshot, Tier
from migrations_audit.models.projects import BUILT
from tests import people
from tests.engine.wheels import Index

pytestmark = pytest.mark.django_db


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> people.Place:
    settings.PORTAL_CACHE = str(tmp_path / "cache")
    settings.PORTAL_BUILD_FOR = ["shop"]
    settings.PORTAL_BUILD_FOR_PRODUCTION = []
    settings.PORTAL_INTERPRETERS = {"py312": "/opt/py312/bin/python"}
    project = Project.objects.create(
        slug="shop", name="Shop", folder="/srv/shop", interpreter=BUILT, requirements="requirements.lock"
    )
    return people.make_place(slug="staging", tier=Tier.STAGING, project=project)


@pytest.fixture
def kept(place: people.Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshot:
    index = Index(tmp_path / "index")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.address)
    return keep(place.project, index.add_wheel("alembic", "9.9.9", {"alembic/__init__.py": ""}))


def keep(project: Project, requirements: str) -> Snapshot:
    """A stored snapshot that holds this requirements file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("requirements.lock")
        member.size = len(requirements)
        tar.addfile(member, io.BytesIO(requirements.encode()))
    return evidence.keep_snapshot(
        actor=people.WORKER, project=project, digest=hashchain.digest(requirements), archive=buffer.getvalue(), files=[],
        graph={"heads": [], "revisions": [], "problems": []},
    )  # fmt: skip


def test_a_built_interpreter_has_the_digest_that_the_plan_binds(
    place: people.Place, kept: Snapshot, settings: Settings
) -> None:
    built = places.interpreter_of(place.target, snapshot=kept)
    again = places.interpreter_of(place.target, snapshot=kept, approved=built.digest)

    assert again == built
    assert built.path.startswith(settings.PORTAL_CACHE)
    assert Path(built.path).exists()


def test_another_interpreter_than_the_approved_one_is_neither_built_nor_used(
    place: people.Place, kept: Snapshot, settings: Settings
) -> None:
    with pytest.raises(places.InterpreterChanged, match="Plan again"):
        places.interpreter_of(place.target, snapshot=kept, approved="0" * 64)
    place.target.project.interpreter = ""
    with pytest.raises(places.InterpreterChanged):
        places.interpreter_of(place.target, snapshot=kept, approved="0" * 64)

    assert not Path(settings.PORTAL_CACHE).exists()


@pytest.mark.parametrize(
    ("tier", "build_for", "for_production", "missing"),
    [
        (Tier.STAGING, [], ["shop"], "PORTAL_BUILD_FOR "),
        (Tier.PRODUCTION, ["shop"], ["other"], "PORTAL_BUILD_FOR_PRODUCTION "),
        (Tier.PRODUCTION, [], ["shop"], "PORTAL_BUILD_FOR "),
    ],
)
def test_a_worker_builds_only_for_projects_that_its_settings_name(
    place: people.Place, kept: Snapshot, settings: Settings, tier: str, build_for: list[str], for_production: list[str],
    missing: str,
) -> None:  # fmt: skip
    settings.PORTAL_BUILD_FOR, settings.PORTAL_BUILD_FOR_PRODUCTION = build_for, for_production
    place.target.environment.tier = tier

    with pytest.raises(BuildRefused) as caught:
        places.interpreter_of(place.target, snapshot=kept)

    assert caught.value.code == "build_not_allowed"
    assert f"{missing}does not name it" in caught.value.message


def test_the_others_are_the_workers_own_and_those_that_a_setting_names(place: people.Place, kept: Snapshot) -> None:
    found = {}
    for name in ("", "py312"):
        place.target.project.interpreter = name
        found[name] = places.interpreter_of(place.target, snapshot=kept, approved="")

    assert found == {"": places.Interpreter(sys.executable), "py312": places.Interpreter("/opt/py312/bin/python")}
    place.target.project.interpreter = "absent"
    with pytest.raises(places.NoInterpreter):
        places.interpreter_of(place.target, snapshot=kept)
