"""Domain tests run on PostgreSQL with the triggers in force."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

from migrations_audit.models import Environment

_TRUNCATE_TRIGGERS = r"SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE '%\_never\_emptied'"


def switch_truncate_triggers(*, on: bool) -> None:
    """Enable or disable the statement triggers that refuse TRUNCATE. The row triggers are not touched."""
    with connection.cursor() as cursor:
        cursor.execute(_TRUNCATE_TRIGGERS)
        found = cursor.fetchall()
        for table, trigger in found:
            cursor.execute(f"ALTER TABLE {table} {'ENABLE' if on else 'DISABLE'} TRIGGER {trigger}")
    assert found, "The migrations make triggers that refuse TRUNCATE; without them this would change nothing."


@pytest.fixture(scope="session")
def _emptiable_tables(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    # Django empties the tables after a test with real transactions, and it does so by TRUNCATE, which production refuses.
    with django_db_blocker.unblock():
        switch_truncate_triggers(on=False)
    yield
    with django_db_blocker.unblock():
        switch_truncate_triggers(on=True)


@pytest.fixture
def real_transactions(_emptiable_tables: None, transactional_db: None) -> Iterator[None]:
    """Transactions that commit, for tests with threads. Tables, and the queues of the environments, are emptied afterwards."""
    yield
    queues = list(Environment.objects.values_list("queue", flat=True))
    if queues:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
            broker.delete(*queues)
