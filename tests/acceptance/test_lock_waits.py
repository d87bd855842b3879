"""A revision that does not get its lock: everything is rolled back and begun anew, and who held the lock is named."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from migrations_audit.actions import runs
from migrations_audit.models import AuditEvent, Environment, LogLine, MigrationRun
from tests import people
from tests.acceptance.portal import ENDED, Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.waiting import wait_for

ALTER = [
    runnable.Script("r1", 'op.execute("CREATE TABLE made_first (id int)")'),
    runnable.Script("r2", 'op.execute("ALTER TABLE users ADD COLUMN age int")', "r1"),
]
OUTSIDE = [
    runnable.Script(
        "r1", 'with op.get_context().autocommit_block():\n    op.execute("ALTER TABLE users ADD COLUMN age int")'
    )
]


@pytest.fixture
def url(make_target_database: MakeTargetDatabase) -> str:
    made = make_target_database("locked")
    with psycopg.connect(made) as connection:
        connection.execute("CREATE TABLE users (id int)")
    return made


@pytest.fixture
def reader(url: str) -> Iterator[psycopg.Connection]:
    """Somebody who reads the table in a transaction that stays open."""
    with psycopg.connect(url, application_name="the nightly report") as connection:
        connection.execute("SELECT * FROM users")
        yield connection


def place_of(portal: Portal, url: str, scripts: list[runnable.Script], *, budget_s: int) -> people.Place:
    place = portal.place(url, scripts)
    Environment.objects.filter(pk=place.target.environment_id).update(lock_timeout_ms=400, lock_retry_budget_s=budget_s)
    return place


def said(run: MigrationRun, words: str) -> bool:
    return LogLine.objects.filter(run_id=run.number, text__contains=words).exists()


def columns(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0")
        return [str(row[0]) for row in found]


def test_it_is_tried_again_and_names_who_held_the_lock_until_it_is_free(
    portal: Portal, url: str, reader: psycopg.Connection
) -> None:
    run = portal.started(place_of(portal, url, ALTER, budget_s=60))
    wait_for(lambda: said(run, "attempt 3"), within=30, what="the third attempt")
    assert said(run, f"Waiting for a lock held by session {reader.info.backend_pid} of")
    assert said(run, "(the nightly report), idle in transaction")
    reader.rollback()

    ended = portal.until(run.number, *ENDED)

    assert (ended.state, ended.verdict) == ("applied", "verified"), ended.sentence
    assert columns(url) == ["id", "age"]
    assert [step.state for step in ended.steps.all()] == ["committed", "committed"]
    again = AuditEvent.objects.filter(action="run.began_again", object_id=str(run.number))
    assert again.count() >= 2


def test_without_the_lock_within_the_budget_nothing_is_changed_and_the_verdict_names_the_holder(
    portal: Portal, url: str, reader: psycopg.Connection
) -> None:
    run = portal.ended(place_of(portal, url, ALTER, budget_s=2))

    assert (run.state, run.reason_code) == ("failed", "no_change")
    assert "SQLSTATE 55P03" in run.sentence
    assert f"The lock was held by session {reader.info.backend_pid}" in run.sentence
    assert "Tried 2 times." in run.sentence or "Tried 3 times." in run.sentence
    assert columns(url) == ["id"]


def test_what_works_outside_a_transaction_is_tried_once(portal: Portal, url: str, reader: psycopg.Connection) -> None:
    run = portal.ended(place_of(portal, url, OUTSIDE, budget_s=60))

    assert (run.state, run.reason_code) == ("failed", "partly_applied"), run.sentence
    assert not AuditEvent.objects.filter(action="run.began_again", object_id=str(run.number)).exists()
    assert str(reader.info.backend_pid) in run.sentence


def test_a_cancel_between_two_tries_ends_it_with_nothing_changed(
    portal: Portal, url: str, reader: psycopg.Connection
) -> None:
    place = place_of(portal, url, ALTER, budget_s=60)
    run = portal.started(place)
    wait_for(lambda: said(run, "attempt 3"), within=30, what="the third attempt")
    assert reader.info.backend_pid

    runs.cancel(actor=place.actor("operator"), number=run.number)

    ended = portal.until(run.number, *ENDED)
    assert (ended.state, ended.reason_code) == ("cancelled", "cancelled"), ended.sentence
    assert columns(url) == ["id"]
