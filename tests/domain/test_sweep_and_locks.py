"""A row that somebody holds, a process that hangs or a host that is gone, does not stop the sweep of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection

from migrations_audit.actions import sweeps
from migrations_audit.models import MigrationRun, Project, Target
from migrations_audit.models.clock import database_now
from tests.people import WORKER, Place, make_place, make_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("real_transactions")]


@contextmanager
def held(run: MigrationRun) -> Iterator[None]:
    """The run's row and its target's, locked in a transaction that does not end."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.ClientCursor}) as somebody:
        somebody.execute("SELECT 1 FROM migrations_audit_migrationrun WHERE number = %s FOR UPDATE", [run.number])
        somebody.execute("SELECT 1 FROM migrations_audit_target WHERE id = %s FOR UPDATE", [run.target_id])
        yield


def beside(place: Place) -> Place:
    """Another project's target in the same environment."""
    project = Project.objects.create(slug="beside", name="Beside", folder="/srv/beside")
    target = Target.objects.create(
        project=project, environment=place.environment, slug="main", url_reference="env:TEST_TARGET_URL"
    )
    return Place(place.environment, project, target, place.people)


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """A sweep that waits for a row fails here, where it would hang for ever."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '2s'")
    yield
    connection.close()


@pytest.mark.parametrize(
    ("state", "overdue", "becomes"),
    [("running", "lease_expires_at", "outcome_unknown"), ("approved", "expires_at", "expired")],
)
def test_a_row_that_is_held_is_left_to_the_next_sweep(state: str, overdue: str, becomes: str) -> None:
    place = make_place()
    stuck, other = make_run(place, state=state), make_run(beside(place), state=state)
    past: dict[str, Any] = {overdue: database_now() - timedelta(seconds=1)}
    MigrationRun.objects.filter(number__in=[stuck.number, other.number]).update(**past)

    with held(stuck):
        assert sweeps.sweep(actor=WORKER)
        assert MigrationRun.objects.get(number=other.number).state == becomes
        assert MigrationRun.objects.get(number=stuck.number).state == state
    sweeps.sweep(actor=WORKER)

    assert MigrationRun.objects.get(number=stuck.number).state == becomes


def test_a_message_about_a_row_that_is_held_is_sent_by_the_next_sweep() -> None:
    place = make_place()
    stuck, other = make_run(place), make_run(beside(place))
    MigrationRun.objects.update(dispatched_at=database_now() - timedelta(minutes=1))

    with held(stuck):
        assert sweeps.sweep(actor=WORKER)
        sent = dict(MigrationRun.objects.values_list("number", "dispatch_count"))
    sweeps.sweep(actor=WORKER)

    assert (sent[stuck.number], sent[other.number]) == (1, 2)
    assert MigrationRun.objects.get(number=stuck.number).dispatch_count == 2
