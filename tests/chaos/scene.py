"""A fresh target database with its own role and password, its journal, and its registration in the portal."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import psycopg
from django.conf import settings
from psycopg import sql

from migrations_audit import sealing
from migrations_audit.models import Environment, Project, Target
from tests import people
from tests.chaos import truth
from tests.chaos.projects import Kind
from tests.chaos.stage import Stage

QUEUE = "target-chaos"

_JOURNAL = """
    CREATE SCHEMA chaos;
    CREATE TABLE chaos.journal (
        id bigserial PRIMARY KEY, run bigint NOT NULL, revision text NOT NULL, direction text NOT NULL, part text NOT NULL,
        tag text NOT NULL DEFAULT current_setting('application_name'), pid int NOT NULL DEFAULT pg_backend_pid(),
        at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    -- A sequence is not rolled back: it tells whose revision was begun last, even when nothing was committed.
    CREATE SEQUENCE chaos.last_to_execute MINVALUE 0 START 0;
    CREATE FUNCTION chaos.mark(revision text, direction text, part text) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE this bigint := coalesce(substring(current_setting('application_name') from ':run-([0-9]+):')::bigint, 0);
        BEGIN
            PERFORM setval('chaos.last_to_execute', this);
            INSERT INTO chaos.journal (run, revision, direction, part) VALUES (this, revision, direction, part);
        END $$;
    CREATE TABLE chaos.indexed AS SELECT generate_series(1, 20000) AS id;
    CREATE TABLE chaos.slow (seconds float NOT NULL);
    CREATE FUNCTION chaos.wait() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(NEW.seconds); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON chaos.slow DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION chaos.wait();
"""


@dataclass(frozen=True)
class Scene:
    """One database. ``url`` is the superuser's, for reading the truth; the portal has the role's."""

    kind: Kind
    place: people.Place
    url: str
    password: str

    def way(self, found: truth.Found, back_to: str) -> truth.Way:
        """Where a run leads from here: up to the head, or back when it is there already."""
        order = self.kind.order
        start = found.rows[0] if found.rows else ""
        back = "" if back_to == "base" else back_to
        result = back if start == order[-1] else order[-1]
        return truth.Way(order, self.kind.parts(), start, result)


def set_up() -> people.Place:
    """The one environment of the chaos with its people. Its target is never run on."""
    project = Project.objects.create(slug="nobody", name="Nobody", folder="/nonexistent")
    place = people.make_place(slug="chaos", project=project, lock_budget_s=10, deadline_s=60, observe_every_s=3600)
    place.target.delete()
    Environment.objects.filter(pk=place.environment.pk).update(queue=QUEUE)
    place.environment.refresh_from_db()
    return place


def build(name: str, kind: Kind, *, stage: Stage, home: people.Place, roots: Path) -> Scene:
    """Make the database ``name`` and register it. Whatever an interrupted attempt left of it is replaced."""
    password = f"canary-{secrets.token_urlsafe(18)}"
    with psycopg.connect(stage.target.url(), autocommit=True, connect_timeout=5) as connection:
        identifier = sql.Identifier(name)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(identifier))
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(identifier, sql.Literal(password)))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
    role_url = f"postgresql://{name}:{password}@{stage.target.host}:{stage.target.port}/{name}"
    with psycopg.connect(role_url, connect_timeout=5) as owner:
        owner.execute(_JOURNAL)
    folder = roots / secrets.token_hex(4)
    kind.write(folder)
    project = Project.objects.create(slug=folder.name, name=kind.name, folder=str(folder), driver=kind.driver)
    sealed = sealing.seal(role_url, keys=settings.PORTAL_SEALING_KEYS)
    target = Target.objects.create(
        project=project, environment=home.environment, slug=name.replace("_", "-"), url_reference=f"sealed:{sealed}"
    )
    place = people.Place(home.environment, project, target, home.people)
    return Scene(kind, place, stage.target.url(name), password)
