"""Grades of real projects, held against what Alembic's own downgrade leaves in a database, as pg_dump and SQL tell it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from migrations_audit.actions import rehearsals
from migrations_audit.models import Rehearsal
from opsportal.local import postgres
from tests import people
from tests.acceptance import portal as portals
from tests.acceptance import published
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

MARKETEDGE = portals.ROOT / "opsportal" / "demo" / "marketedge"
_COLUMNS = """
    SELECT table_schema, table_name, column_name, data_type, character_maximum_length
      FROM information_schema.columns
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name <> 'alembic_version'
"""
_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


@pytest.fixture(scope="module", autouse=True)
def interpreters() -> Iterator[None]:
    """The worker of this module knows the interpreter of the package."""
    path = str(published.SKYPILOT.interpreter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_INTERPRETERS", f"skypilot={path}")
        patch.setattr(settings, "PORTAL_INTERPRETERS", {"skypilot": path})
        yield


@dataclass(frozen=True)
class Truth:
    """What Alembic's own commands did with one revision. ``loses`` when a column is not the same before and after it."""

    goes_back: bool
    restores: bool
    loses: bool


def state(url: str) -> tuple[str, set[tuple[object, ...]]]:
    """The schema as pg_dump writes it, and the columns that hold data."""
    command = [str(postgres.find_binaries() / "pg_dump"), "--schema-only", "--exclude-table=alembic_version", url]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with psycopg.connect(url) as connection:
        columns = set(connection.execute(_COLUMNS).fetchall())
    return "\n".join(line for line in dump.splitlines() if not line.startswith(("--", "\\"))), columns


def alembic(folder: Path, url: str, *words: str) -> bool:
    """Alembic's own command line on the project as it lies there."""
    address = url.replace("postgresql", "postgresql+psycopg2", 1)
    code = (
        "import sys; from alembic.config import Config; from alembic import command;"
        "config = Config('alembic.ini'); config.set_main_option('sqlalchemy.url', sys.argv[1]);"
        "getattr(command, sys.argv[2])(config, sys.argv[3])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, address, *words],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": address},
        capture_output=True,
        check=False,
    )
    return ended.returncode == 0


def truth_of(act: Callable[[str, str], bool], url: str, revisions: list[str]) -> dict[str, Truth]:
    """Each revision up, down and up again. ``act`` is Alembic: a command and its revision."""
    found = {}
    for revision in revisions:
        before, had = state(url)
        assert act("upgrade", revision), revision
        made, has = state(url)
        goes_back = act("downgrade", "-1")
        after, _ = state(url)
        found[revision] = Truth(goes_back and (after != made or made == before), after == before, had != has)
        if goes_back and not act("upgrade", revision):
            found[revision] = Truth(False, False, had != has)
            break
    return found


def rehearsed(portal: Portal, place: people.Place) -> Rehearsal:
    run = portal.planned(place)
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    wait_for(
        lambda: Rehearsal.objects.get(pk=asked.pk).has_ended,
        within=300,
        what=f"the rehearsal; {portal.workers.said()[-1500:]}",
    )
    return Rehearsal.objects.get(pk=asked.pk)


def register_marketedge(portal: Portal, url: str) -> people.Place:
    return portal.register(url, MARKETEDGE, url_delivery="environment", url_delivery_name="DATABASE_URL")


def register_optuna(portal: Portal, url: str) -> people.Place:
    return portal.register(url, portals.OPTUNA, driver="postgresql+psycopg2")


@pytest.mark.parametrize(
    ("register", "folder"),
    [(register_marketedge, MARKETEDGE), (register_optuna, portals.OPTUNA)],
    ids=["marketedge", "optuna"],
)
def test_a_grade_is_what_alembics_own_downgrade_does(
    portal: Portal,
    make_target_database: MakeTargetDatabase,
    register: Callable[[Portal, str], people.Place],
    folder: Path,
) -> None:
    place = register(portal, make_target_database("graded"))
    place.environment.deadline_s = 300
    place.environment.save(update_fields=["deadline_s"])

    rehearsal = rehearsed(portal, place)

    url = make_target_database("by_hand")
    assert_graded_as(rehearsal, truth_of(partial(alembic, folder, url), url, revisions_of(rehearsal)))


def test_the_grades_of_a_published_package_with_an_interpreter_of_its_own(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    project = published.SKYPILOT
    folder = project.folder(portal.roots)
    place = portal.register(make_target_database("graded"), folder, **project.registered())
    place.environment.deadline_s = 300
    place.environment.save(update_fields=["deadline_s"])
    url = make_target_database("by_hand")

    def act(name: str, revision: str) -> bool:
        try:
            project.alembic(folder, url, (name, {"revision": revision}))
        except AssertionError:
            return False
        return True

    rehearsal = rehearsed(portal, place)

    assert len(rehearsal.steps) == project.steps
    assert_graded_as(rehearsal, truth_of(act, url, revisions_of(rehearsal)))


def revisions_of(rehearsal: Rehearsal) -> list[str]:
    return [step["revision"] for step in rehearsal.steps]


def assert_graded_as(rehearsal: Rehearsal, truth: Mapping[str, Truth]) -> None:
    assert rehearsal.outcome == "passed", rehearsal.sentence
    for step in rehearsal.steps:
        if step["revision"] not in truth:
            continue
        told, found = truth[step["revision"]], step["grade"]
        writes = any(
            _WRITES.match(each["text"]) and "alembic_version" not in each["text"] for each in step["statements"]
        )
        expected = "impossible"
        if told.goes_back:
            expected = "exact" if told.restores and not told.loses and not writes else "lossy"
        assert found == expected, (step["revision"], told, step["reasons"])
