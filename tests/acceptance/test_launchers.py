"""Projects launched by their own command: Flask-Migrate in an application of ours, and Prefect as it is published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import psycopg
import pytest
from django.conf import settings

from migrations_audit.models import Environment
from migrations_audit.states import Operation
from tests import environments, people
from tests.acceptance.portal import Portal
from tests.acceptance.test_upgrades import tables
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable

FLASK, PREFECT = environments.Environment("flask"), environments.Environment("prefect")
SHOP = """
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["SHOP_DATABASE_URL"]
db = SQLAlchemy(app)
Migrate(app, db)
"""
ENV = """
from alembic import context
from flask import current_app

engine = current_app.extensions["migrate"].db.engine
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture(scope="module", autouse=True)
def interpreters() -> Iterator[None]:
    paths = {each.name: str(each.interpreter) for each in (FLASK, PREFECT)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTAL_INTERPRETERS", ",".join(f"{name}={path}" for name, path in paths.items()))
        patch.setattr(settings, "PORTAL_INTERPRETERS", paths)
        yield


@pytest.fixture
def shop(portal: Portal) -> Path:
    """An application as Flask-Migrate makes it: its alembic.ini names no script_location."""
    FLASK.make()
    folder = portal.roots / "shop"
    if not folder.exists():
        runnable.write(folder, runnable.chain("users", "orders"), env=ENV)
        (folder / "alembic.ini").rename(folder / "migrations" / "alembic.ini")
        (folder / "migrations" / "alembic.ini").write_text("[alembic]\n")
        (folder / "shop.py").write_text(SHOP)
    return folder


def registered(portal: Portal, url: str, folder: Path) -> people.Place:
    return portal.register(
        url,
        folder,
        config_path="migrations/alembic.ini",
        interpreter="flask",
        driver="postgresql+psycopg2",
        launcher="command",
        command=["flask", "--app", "shop", "db", "{direction}", "{revision}"],
        url_delivery="environment",
        url_delivery_name="SHOP_DATABASE_URL",
    )


def test_flask_db_upgrade_and_downgrade_are_followed_step_by_step(
    portal: Portal, make_target_database: MakeTargetDatabase, shop: Path
) -> None:
    url = make_target_database("shop")
    place = registered(portal, url, shop)

    up = portal.ended(place)
    back = portal.ended(place, revision="r1", operation=Operation.ROLLBACK)

    assert (up.state, up.verdict) == ("applied", "verified"), up.sentence
    assert [step.state for step in up.steps.all()] == ["committed", "committed"]
    assert (back.state, back.verdict) == ("applied", "verified"), back.sentence
    assert tables(url) == {"users", "alembic_version"}


def test_flask_db_stamp_adopts(portal: Portal, make_target_database: MakeTargetDatabase, shop: Path) -> None:
    url = make_target_database("shop")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE users (id int PRIMARY KEY)")

    run = portal.ended(registered(portal, url, shop), revision="r1", operation=Operation.ADOPT)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert tables(url) == {"users", "alembic_version"}


@pytest.mark.slow
def test_prefect_server_database_upgrade_goes_to_its_head_and_a_step_back(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    PREFECT.make()
    folder = portal.roots / "prefect"
    folder.mkdir()
    copytree(PREFECT.packages / "prefect" / "server" / "database" / "_migrations", folder / "migrations")
    locations = "script_location = migrations\nversion_locations = migrations/versions/postgresql\n"
    (folder / "alembic.ini").write_text(f"[alembic]\n{locations}")
    url = make_target_database("prefect")
    place = portal.register(
        url,
        folder,
        interpreter="prefect",
        driver="postgresql+asyncpg",
        launcher="command",
        command=["prefect", "server", "database", "{direction}", "-y", "-r", "{revision}"],
        url_delivery="environment",
        url_delivery_name="PREFECT_API_DATABASE_CONNECTION_URL",
    )
    Environment.objects.filter(pk=place.environment.pk).update(deadline_s=120)

    up = portal.ended(place)
    back = portal.ended(place, revision="-1", operation=Operation.ROLLBACK)

    assert (up.state, up.verdict) == ("applied", "verified"), up.sentence
    assert up.steps.filter(state="committed").count() == up.steps.count() > 100
    assert (back.state, back.verdict) == ("applied", "verified"), back.sentence
