"""Rows that are a record: the database lets nobody change, delete or empty them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction

from migrations_audit.actions import attempts, glass, rehearsals
from migrations_audit.models import (
    Approval,
    AuditEvent,
    Catalog,
    Evidence,
    FindingAcceptance,
    GlassReview,
    LogLine,
    MigrationRun,
    Observation,
    Plan,
    Rehearsal,
    RevisionDelta,
    Snapshot,
)
from migrations_audit.states import Outcome
from tests.domain import raw
from tests.domain.conftest import switch_truncate_triggers
from tests.people import PASSWORD, WORKER, Place, add_person, finish, make_place, make_run

# Each table with a column whose change would be a forgery.
RECORDS = [
    (AuditEvent, "actor"),
    (Observation, "sentence"),
    (Evidence, "outcome"),
    (Catalog, "body"),
    (Snapshot, "digest"),
    (Plan, "sql"),
    (LogLine, "text"),
    (GlassReview, "text"),
    (RevisionDelta, "revision"),
]
KEPT = [model for model, _ in RECORDS] + [MigrationRun, Approval, FindingAcceptance, Rehearsal]


@pytest.fixture
def history(db: None) -> MigrationRun:
    """A run that has left rows in every table of record."""
    place = make_place()
    run = make_run(place, state="running")
    attempts.append_log(number=run.number, epoch=run.epoch, lines=[attempts.Line("portal", "Connected.")])
    FindingAcceptance.objects.create(
        project=place.project,
        code="drop_table",
        sentence="DROP TABLE a: A table is dropped.",
        digest="0" * 64,
        reason="It is empty.",
        accepted_by=place.people["dba"],
        accepted_by_name="dba",
        at=run.requested_at,
        expires_at=run.requested_at + timedelta(days=1),
    )
    run = finish(place, run)
    _rehearse(place)
    _review_a_start_without_approval(place)
    return run


def _rehearse(place: Place) -> None:
    run = make_run(place, state="awaiting_approval", revision="003")
    asked = rehearsals.ask(actor=place.actor("dba"), number=run.number)
    claimed = rehearsals.claim(actor=WORKER, rehearsal_id=asked.pk)
    assert claimed is not None
    rehearsals.finish(
        actor=WORKER,
        rehearsal_id=asked.pk,
        epoch=claimed.epoch,
        result=rehearsals.Result(Outcome.PASSED, "rehearsed", "It ran.", grade="exact"),
        deltas=[{"revision": "003", "sha256": "0" * 64, "changes": []}],
    )


def _review_a_start_without_approval(place: Place) -> None:
    chief = add_person(place, "chief", ("administrator", ""), ("operator", ""))
    run = make_run(place, state="awaiting_approval")
    glass.break_glass(
        actor=chief,
        number=run.number,
        digest=run.plan.digest if run.plan else "",
        why_now="Sign-in answers 500 since 02:10.",
        why_not_approved="Nobody answers the phone.",
        password=PASSWORD,
        confirm=place.target.label,
    )
    finish(place, attempts.claim(actor=WORKER, number=run.number))
    glass.review(actor=place.actor("dba"), number=run.number, text="Read the log and the evidence.")


@pytest.mark.parametrize(("model", "column"), RECORDS)
@pytest.mark.usefixtures("history")
def test_a_row_of_record_is_not_changed(model: type[AuditEvent], column: str) -> None:
    table = model._meta.db_table

    with raw.refused(match=f"UPDATE on {table} is refused"):
        raw.execute(f"UPDATE {table} SET {column} = {column}")


@pytest.mark.parametrize("model", KEPT)
@pytest.mark.usefixtures("history")
def test_a_row_of_record_is_not_deleted(model: type[AuditEvent]) -> None:
    table = model._meta.db_table

    with raw.refused(match=f"DELETE on {table} is refused"):
        raw.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("model", KEPT)
@pytest.mark.usefixtures("history")
def test_a_table_of_record_is_not_emptied(model: type[AuditEvent]) -> None:
    raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
    switch_truncate_triggers(on=True)

    with raw.refused(match=f"TRUNCATE on {model._meta.db_table} is refused"):
        raw.execute(f"TRUNCATE {model._meta.db_table} CASCADE")


@pytest.mark.usefixtures("history")
def test_a_table_of_record_is_not_emptied_by_way_of_another() -> None:
    raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
    switch_truncate_triggers(on=True)

    with raw.refused(match="TRUNCATE on .* is refused"):
        raw.execute("TRUNCATE migrations_audit_target CASCADE")


@pytest.mark.django_db
def test_every_model_is_either_a_record_or_known_to_change() -> None:
    changing = {"Environment", "Membership", "Project", "Target", "RunStep", "ApiToken", "Worker", "Window", "Freeze"}
    changing |= {"Notice", "PolicyProposal"}
    ours = {model.__name__ for model in connection.introspection.installed_models(connection.introspection.table_names())
            if model.__module__.startswith("migrations_audit")}  # fmt: skip

    assert ours == changing | {model.__name__ for model in KEPT}


@pytest.mark.usefixtures("real_transactions")
@pytest.mark.django_db(transaction=True)
def test_the_row_triggers_stay_in_force_where_tests_may_empty_tables() -> None:
    run = make_run(make_place())

    with raw.refused(match="UPDATE on migrations_audit_auditevent is refused"), transaction.atomic():
        raw.execute("UPDATE migrations_audit_auditevent SET actor = 'x'")
    with raw.refused(match="cannot go from requested to applied"):
        raw.execute("UPDATE migrations_audit_migrationrun SET state = 'applied' WHERE number = %s", run.number)
