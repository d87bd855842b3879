"""The database as somebody sees it who holds the portal's password and not its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from migrations_audit.models import Evidence, MigrationRun, Observation, Plan
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState
from tests.people import IDENTITY, Place, make_draft

RUN_TRIGGERS = ("migrationrun_check", "migrationrun_glass")


def execute(statement: str, *parameters: Any) -> int:
    """Execute one statement and return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


@contextmanager
def another_session() -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A second connection to the portal's database, rolled back and closed at the end."""
    known = connection.get_connection_params()
    names = ("dbname", "host", "port", "user", "password")
    session = psycopg.connect(**{name: known[name] for name in names if name in known})
    try:
        yield session
    finally:
        session.rollback()  # closing alone would leave its locks until the server has noticed
        session.close()


@contextmanager
def refused(*, match: str | None = None) -> Iterator[None]:
    """The database must refuse what happens inside, as an integrity error whose words match; nothing of it stays."""
    with pytest.raises(IntegrityError, match=match), transaction.atomic():
        yield


@contextmanager
def without_run_trigger() -> Iterator[None]:
    """Switch the triggers of runs off, to lay out a row in a state that the portal reaches only by its moves."""
    execute("SET CONSTRAINTS ALL IMMEDIATE")  # ALTER TABLE wants no pending checks
    for trigger in RUN_TRIGGERS:
        execute(f"ALTER TABLE migrations_audit_migrationrun DISABLE TRIGGER {trigger}")
    yield
    for trigger in RUN_TRIGGERS:
        execute(f"ALTER TABLE migrations_audit_migrationrun ENABLE TRIGGER {trigger}")


def put(run: MigrationRun, **columns: Any) -> None:
    """Write columns of a run past its trigger."""
    with without_run_trigger():
        MigrationRun.objects.filter(number=run.number).update(**columns)


def put_in(run: MigrationRun, state: RunState) -> None:
    """Put a run (which needs a plan for most states) into any state, past its trigger."""
    put(run, state=state.value)


def plan_beside(place: Place) -> Plan:
    """Another plan for the same target, as a row."""
    draft = make_draft(place)
    return Plan.objects.create(
        target=place.target, operation="upgrade", requested="head", from_revisions=["002"], to_revisions=["003"],
        destination=["003"], steps=[], options={}, identity=IDENTITY, snapshot=draft.snapshot, parts={},
        base_observation=draft.base_observation, body="{}", digest="e" * 64, at=database_now(),
    )  # fmt: skip


def add_evidence(run: MigrationRun, *, outcome: str, observation: Observation | None) -> Evidence:
    """One line of evidence, as a row."""
    return Evidence.objects.create(
        run=run, target=run.target, at=database_now(), check_name="revision rows", expected="003", observed="003",
        outcome=outcome, observation=observation,
    )  # fmt: skip
