"""The sweep: lost messages are sent again, and nothing is done twice for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection

from migrations_audit import dispatch
from migrations_audit.actions import sweeps
from migrations_audit.models import MigrationRun, Target, Worker
from migrations_audit.models.clock import database_now
from tests.people import WORKER, finish, make_place, make_run

pytestmark = pytest.mark.django_db

Sent = list[tuple[dispatch.Wake, dict[str, Any]]]


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """What the sweep hands to the dispatcher. What the dispatcher does with it is test_dispatch's subject."""
    messages: Sent = []

    def note(wake: dispatch.Wake, **values: Any) -> None:
        messages.append((wake, values))

    monkeypatch.setattr(dispatch, "after_commit", note)
    return iter([messages]).__next__()  # type: ignore[return-value]


def age(run: MigrationRun, *, seconds: float, **columns: Any) -> None:
    MigrationRun.objects.filter(number=run.number).update(
        dispatched_at=database_now() - timedelta(seconds=seconds), **columns
    )


def about(sent: Sent, run: MigrationRun) -> list[dispatch.Wake]:
    return [wake for wake, values in sent if values.get("number") == run.number]
