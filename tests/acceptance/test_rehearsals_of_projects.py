"""Grades of real projects, held against what Alembic's own downgrade leaves in a database, as pg_dump and SQL tell it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from tests.environments import PROJECTS
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

MARKETEDGE = portals.ROOT / "opsportal" / "demo" / "marketedge"
_COLUMNS = """
    SELECT table_schema, table_name, column_name, data_type, character_maximum_length
      FROM information_schema.columns
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name NOT LIKE 'alembic_version%'
"""
Act = Callable[[str, str], bool]
"""A command of Alembic's with its revision, and whether it ended well."""
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
    comes_again: bool
    loses: bool


def state(url: str) -> tuple[str, set[tuple[object, ...]]]:
    """The schema as pg_dump writes it, and the columns that hold data."""
    command = [str(postgres.find_binaries() / "pg_dump"), "--schema-only", "--exclude-table=alembic_version*", url]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with psycopg.connect(url) as connection:
        columns = set(connection.execute(_COLUMNS).fetchall())
    return "\n".join(line for line in dump.splitlines() if not line.startswith(("--", "\\"))), columns


@dataclass(frozen=True)
class ByHand:
    """Alembic's own commands on the project as it lies there. ``variable`` is where the project takes its URL from."""

    config: Path
    interpreter: str = sys.executable
    section: str = "alembic"
    variable: str = ""

    @contextmanager
    def on(self, url: str) -> Iterator[Act]:
        """A process for this database alone: whether a command ended well."""
        asked = {"config": str(self.config), "section": self.section, "variable": self.variable}
        asked["url"] = url.replace("postgresql", "postgresql+psycopg2", 1)
        command = [self.interpreter, "-I", str(PROJECTS / "play_alembic.py"), json.dumps(asked)]
        pipe, environment = subprocess.PIPE, {"HOME": "/nonexistent"}
        with subprocess.Popen(
            command,
            cwd=self.config.parent,
            env=environment,
            text=True,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
        ) as process:
            said, heard = process.stdin, process.stdout
            assert said is not None
            assert heard is not None

            def act(name: str, revision: str) -> bool:
                print(name, revision, file=said, flush=True)
                answer = heard.readline().strip()
                assert answer in ("ok", "failed")
                return answer == "ok"

            yield act


def truth_of(by_hand: ByHand, make: MakeTargetDatabase, revisions: list[str]) -> dict[str, Truth]:
    """Each revision by itself: taken back by one, and applied again, where one call of Alembic's led from nothing to it.

    Steps would not do: what an earlier downgrade left behind must not count, and Optuna's chain has none from v1.3.0.a.
    """
    found = {}
    before, had = state(make("base"))
    for revision in revisions:
        url = make("by_hand")
        with by_hand.on(url) as act:
            assert act("upgrade", revision), revision
            made, has = state(url)
            goes_back = act("downgrade", "-1")
            after, _ = state(url)
            comes_again = goes_back and act("upgrade", revision)
        goes_back = goes_back and (after != made or made == before)
        found[revision] = Truth(goes_back, after == before, comes_again, had != has)
        before, had = made, has
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
    ("register", "by_hand"),
    [
        (register_marketedge, ByHand(MARKETEDGE / "alembic.ini", variable="DATABASE_URL")),
        (register_optuna, ByHand(portals.OPTUNA / "alembic.ini")),
    ],
    ids=["marketedge", "optuna"],
)
def test_a_grade_is_what_alembics_own_downgrade_does(
    portal: Portal,
    make_target_database: MakeTargetDatabase,
    register: Callable[[Portal, str], people.Place],
    by_hand: ByHand,
) -> None:
    place = register(portal, make_target_database("graded"))
    place.environment.deadline_s = 300
    place.environment.save(update_fields=["deadline_s"])

    rehearsal = rehearsed(portal, place)

    assert_graded_as(rehearsal, truth_of(by_hand, make_target_database, revisions_of(rehearsal)))


def test_the_grades_of_a_published_package_with_an_interpreter_of_its_own(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    project = published.SKYPILOT
    folder = project.folder(portal.roots)
    place = portal.register(make_target_database("graded"), folder, **project.registered())
    place.environment.deadline_s = 300
    place.environment.save(update_fields=["deadline_s"])
    given = project.registered()
    by_hand = ByHand(folder / given["config_path"], project.interpreter, given["ini_section"])

    rehearsal = rehearsed(portal, place)

    assert len(rehearsal.steps) == project.steps
    assert_graded_as(rehearsal, truth_of(by_hand, make_target_database, revisions_of(rehearsal)))


def revisions_of(rehearsal: Rehearsal) -> list[str]:
    return [step["revision"] for step in rehearsal.steps]


def assert_graded_as(rehearsal: Rehearsal, truth: Mapping[str, Truth]) -> None:
    assert rehearsal.outcome == "passed", rehearsal.sentence
    assert set(truth) == set(revisions_of(rehearsal))
    wrong = {}
    for step in rehearsal.steps:
        told = truth[step["revision"]]
        writes = any(
            _WRITES.match(each["text"]) and "alembic_version" not in each["text"] for each in step["statements"]
        )
        expected = "impossible"
        if told.goes_back:
            whole = told.restores and told.comes_again and not told.loses and not writes
            expected = "exact" if whole else "lossy"
        if step["grade"] != expected:
            wrong[step["revision"]] = (step["grade"], expected, told, step["reasons"])
    assert wrong == {}
