"""Alembic projects as they are: one that ships inside a published package, unchanged, and the one of the story."""

from __future__ import annotations

import subprocess
import sys

import psycopg

from migrations_audit.states import Operation
from tests.acceptance.portal import OPTUNA, ROOT, Portal
from tests.conftest import MakeTargetDatabase

MARKETEDGE = ROOT / "opsportal" / "demo" / "marketedge"


def rows(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [str(row[0]) for row in connection.execute("SELECT version_num FROM alembic_version").fetchall()]


def test_optuna_goes_from_base_to_head_unchanged(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("optuna")
    place = portal.register(url, OPTUNA)

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert rows(url) == ["v3.2.0.a"]
    assert run.steps.filter(state="committed").count() == 10


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
