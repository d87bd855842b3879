"""What the portal's own role cannot do to the records, whatever code runs with it; and messages that were forged."""

from __future__ import annotations

import pickle
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import kombu.serialization
import psycopg
import pytest
from django.conf import settings
from django.db import connections
from kombu.exceptions import ContentDisallowed

from migrations_audit import tasks
from migrations_audit.models import MigrationRun
from opsportal.celery import app
from tests import people
from tests.acceptance import portal as portals

DEPLOY = Path(__file__).resolve().parent.parent.parent / "docs" / "deploy.md"


@pytest.fixture(scope="module")
def as_app_role(django_db_setup: None) -> Iterator[str]:
    """The URL of a migrated portal database for the role that docs/deploy.md makes, by its own statements."""
    name, role = f"roles_{secrets.token_hex(4)}", f"app_{secrets.token_hex(4)}"
    template = settings.DATABASES["default"]["NAME"]
    (written,) = re.findall(r"```sql\n(CREATE ROLE opsportal_app.*?)```", DEPLOY.read_text(), re.DOTALL)
    connections.close_all()  # a database is copied only while nobody is connected to it
    portals.on_server(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    owner = portals.database_url(name)
    with psycopg.connect(owner, autocommit=True) as connection:
        for statement in written.replace("opsportal_app", role).replace("…", "app-password").split(";"):
            if statement.strip():
                connection.execute(statement.encode())
    parts = urlsplit(owner)
    yield urlunsplit(parts._replace(netloc=f"{role}:{quote('app-password')}@{parts.hostname}:{parts.port}"))
    portals.on_server(f'DROP DATABASE "{name}" WITH (FORCE)')
    portals.on_server(f'DROP ROLE "{role}"')


RECORDS = ("auditevent", "observation", "evidence", "plan", "snapshot", "logline")


@pytest.mark.parametrize("table", RECORDS)
@pytest.mark.parametrize(
    "attack",
    [
        "TRUNCATE {table}",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "ALTER TABLE {table} DISABLE TRIGGER USER",
        "DROP TABLE {table} CASCADE",
        "CREATE OR REPLACE FUNCTION migrations_audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "SET session_replication_role = replica",
        "SET ROLE postgres",
    ],
)
def test_the_role_of_the_processes_cannot_take_the_guards_away(as_app_role: str, table: str, attack: str) -> None:
    with (
        psycopg.connect(as_app_role, autocommit=True) as connection,
        pytest.raises(
            (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue)
        ),
    ):
        connection.execute(attack.format(table=f"migrations_audit_{table}").encode())


def test_a_session_variable_of_other_peoples_guards_changes_nothing(as_app_role: str) -> None:
    with psycopg.connect(as_app_role, autocommit=True) as connection:
        connection.execute("SET pgtrigger.ignore = '{migrations_audit_auditevent:append_only}'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM migrations_audit_auditevent")


def test_a_message_that_is_no_json_is_not_even_read() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("unpickled",)

    assert app.conf.accept_content == ["json"]
    for payload, kind in (
        (pickle.dumps(Bomb()), "application/x-python-serialize"),
        (b"!!python/object:x", "application/x-yaml"),
    ):
        with pytest.raises(ContentDisallowed):
            kombu.serialization.loads(payload, kind, "binary", accept=app.conf.accept_content)


def test_a_worker_takes_no_commands_from_the_queue() -> None:
    assert app.conf.worker_enable_remote_control is False
    assert app.conf.worker_send_task_events is False
    assert app.conf.result_backend is None


def test_the_queue_knows_only_tasks_that_take_numbers() -> None:
    ours = {name for name in app.tasks if not name.startswith("celery.")}

    assert ours == {
        f"migrations_audit.{name}"
        for name in ("plan_run", "rehearse", "execute_run", "reconcile_run", "observe_target", "sweep")
    }


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["requested", "awaiting_approval", "approved"])
def test_a_forged_message_executes_nothing_that_was_not_started(state: str) -> None:
    run = people.make_run(people.make_place(), state=state)

    tasks.execute_run(number=run.number, digest="forged", state="approved")
    tasks.reconcile_run(number=run.number)
    tasks.execute_run(number=10**9)

    assert MigrationRun.objects.get().state == state
