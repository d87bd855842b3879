"""Alembic projects as they are: five that ship inside published packages, unchanged, and the one of the story.

Each goes through the whole portal with its own interpreter, drivers and versions. What Alembic itself says is asked of its own
commands, in that interpreter.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings

from migrations_audit.actions import registry_rules
from migrations_audit.states import Operation
from tests import people
from tests.acceptance import published
from tests.acceptance.portal import ROOT, Portal
from tests.acceptance.published import Published
from tests.conftest import MakeTargetDatabase

MARKETEDGE = ROOT / "opsportal" / "demo" / "marketedge"


@pytest.fixture(scope="module", autouse=True)
def interpreters() -> Iterator[None]:
    """The worker of this module knows the interpreter of every project, those too that are made later."""
    paths = {each.name: str(each.interpreter) for each in published.ENVIRONMENTS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_INTERPRETERS", ",".join(f"{name}={path}" for name, path in paths.items()))
        patch.setattr(settings, "PORTAL_INTERPRETERS", paths)
        yield


def registered(portal: Portal, project: Published, url: str, *, beside: people.Place | None = None) -> people.Place:
    """The project as its user would register it; the registry accepts it. ``beside`` has the same database already."""
    folder, settings = project.folder(portal.roots), project.registered()
    place = (
        portal.register_beside(beside, url, folder, **settings) if beside else portal.register(url, folder, **settings)
    )
    registry_rules.check_project(place.project)
    place.environment.deadline_s = 120
    place.environment.save(update_fields=["deadline_s"])
    return place


def go_up(portal: Portal, project: Published, place: people.Place, url: str) -> None:
    """A verified run from base to head, whose graph, pending list and rows are those that Alembic itself tells."""
    run = portal.ended(place, revision=project.revision)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.plan is not None
    folder = project.folder(portal.roots)
    heads, history, current = project.alembic(folder, url, ("heads", {}), ("history", {}), ("current", {}))
    edges = published.edges(history)
    assert len(edges) == project.steps
    assert published.stored_edges(run.plan.snapshot) == edges
    before, after = run.plan.base_observation, run.observations.get(purpose="verify")
    assert set(before.heads) == published.names(heads) == set(project.rows)
    assert published.ids(before.pending) == set(edges)
    assert set(after.revisions or ()) == published.names(current) == set(project.rows)
    assert after.pending == []
    assert run.steps.filter(state="committed").count() == project.steps


def go_back(portal: Portal, project: Published, place: people.Place, url: str) -> None:
    """A verified run one step down, after which the step is pending for Alembic as for the portal."""
    run = portal.ended(place, revision=project.back, operation=Operation.ROLLBACK)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    after = run.observations.get(purpose="verify")
    folder = project.folder(portal.roots)
    current, above = project.alembic(folder, url, ("current", {}), ("history", {"rev_range": "current:heads"}))
    assert set(after.revisions or ()) == published.names(current) == set(project.rows_back)
    assert published.ids(after.pending) == set(published.edges(above)) - set(project.rows_back)


@pytest.mark.slow
@pytest.mark.parametrize(
    "project",
    [published.OPTUNA, published.SKYPILOT, published.DSTACK],
    ids=["in place", "a named section", "asynchronous"],
)
def test_a_published_project_goes_to_its_head_and_a_step_back(
    portal: Portal, make_target_database: MakeTargetDatabase, project: Published
) -> None:
    url = make_target_database(project.name)
    place = registered(portal, project, url)

    go_up(portal, project, place, url)
    go_back(portal, project, place, url)


@pytest.mark.slow
def test_two_chains_of_one_package_share_a_database(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("ckan")
    core = registered(portal, published.CKAN, url)
    go_up(portal, published.CKAN, core, url)

    activity = registered(portal, published.CKAN_ACTIVITY, url, beside=core)
    go_up(portal, published.CKAN_ACTIVITY, activity, url)

    go_back(portal, published.CKAN_ACTIVITY, activity, url)
    go_back(portal, published.CKAN, core, url)


@pytest.mark.slow
@pytest.mark.parametrize(
    "project", [published.GNOCCHI, published.KEYSTONE], ids=["SQLAlchemy 1.4 and Alembic 1.8", "two heads"]
)
def test_a_project_without_a_way_back_says_so_and_stays_where_it_is(
    portal: Portal, make_target_database: MakeTargetDatabase, project: Published
) -> None:
    url = make_target_database(project.name)
    place = registered(portal, project, url)
    go_up(portal, project, place, url)

    run = portal.ended(place, revision=project.back, operation=Operation.ROLLBACK)

    assert (run.state, run.reason_code, run.verdict) == ("failed", "no_change", "unverified"), run.sentence
    assert "has no attribute 'downgrade'" in run.sentence
    (current,) = project.alembic(project.folder(portal.roots), url, ("current", {}))
    assert published.names(current) == set(project.rows)


def rows(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version").fetchall()]


def test_the_story_goes_from_002_to_head_and_back(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("marketedge")
    by_hand(url, "002")
    place = portal.register(url, MARKETEDGE, url_delivery="environment", url_delivery_name="DATABASE_URL")

    upgraded = portal.ended(place)
    rolled_back = portal.ended(place, revision="002", operation=Operation.ROLLBACK)

    assert upgraded.verdict == "verified"
    assert upgraded.plan is not None
    assert "CREATE TABLE analytics_modules" in upgraded.plan.sql
    changes = upgraded.evidence.get(check_name="catalog difference").detail
    assert any("+ table public.analytics_modules" in line for line in changes)
    assert rolled_back.verdict == "verified"
    assert rolled_back.evidence.get(check_name="catalog as last seen at this revision").outcome == "passed"
    assert rows(url) == ["002"]


def by_hand(url: str, revision: str) -> None:
    environment = {"DATABASE_URL": url.replace("postgresql://", "postgresql+psycopg://", 1)}
    command = [sys.executable, "-m", "alembic", "upgrade", revision]
    subprocess.run(command, cwd=MARKETEDGE, env=environment, check=True, capture_output=True)
