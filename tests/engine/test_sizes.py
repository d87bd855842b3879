"""How large the touched tables are: with their partitions, and without waiting for one that somebody has locked away."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from migrations_audit.engine import impact, sizes, urls
from opsportal.local import postgres
from tests.engine import clusters
from tests.engine.database import Database
from tests.waiting import wait_for

FILL = "SELECT n, repeat('x', 500) FROM generate_series(1, 1000) n"


def measured(database: Database, *names: str) -> dict[str, dict[str, Any]]:
    found = impact.read(database.url, names=names, application_name="opsportal:test")
    return {row["name"]: row for row in found.relations}


def partitioned(database: Database) -> None:
    """Orders by year: one partition with 1000 rows, an empty one, and one that is divided again."""
    database.run(
        "CREATE TABLE orders (id int, note text) PARTITION BY RANGE (id)",
        "CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (2000)",
        "CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (2000) TO (4000)",
        "CREATE TABLE orders_3 PARTITION OF orders FOR VALUES FROM (4000) TO (6000) PARTITION BY RANGE (id)",
        "CREATE TABLE orders_3_1 PARTITION OF orders_3 FOR VALUES FROM (4000) TO (5000)",
        f"INSERT INTO orders {FILL}",
        "ANALYZE orders_1",
    )


def test_a_partitioned_table_is_as_large_as_its_partitions_together(database: Database) -> None:
    partitioned(database)

    found = measured(database, "public.orders", "public.orders_1", "public.orders_3")

    parent, first = found["public.orders"], found["public.orders_1"]
    assert first["bytes"] > 500_000
    assert parent["bytes"] >= first["bytes"]
    assert (parent["rows"], parent["never_analyzed"], parent["partitions"]) == (1000, False, 3)
    assert (first["rows"], first["partitions"]) == (1000, 0)
    assert {name: row["partition_of"] for name, row in found.items()} == {
        "public.orders": "",
        "public.orders_1": "public.orders",
        "public.orders_3": "public.orders",
    }
    assert (found["public.orders_3"]["partitions"], found["public.orders_3"]["never_analyzed"]) == (1, True)


def test_what_inherits_from_a_table_is_told_beside_its_own_size(database: Database) -> None:
    database.run(
        "CREATE TABLE events (id int, note text)",
        "CREATE TABLE old_events () INHERITS (events)",
        f"INSERT INTO old_events {FILL}",
    )

    row = measured(database, "public.events")["public.events"]

    assert (row["bytes"] < 100_000, row["heirs"], row["partitions"]) == (True, 1, 0)
    assert row["heirs_bytes"] > 500_000


def test_a_table_that_is_locked_away_is_told_as_such_and_the_others_are_measured(database: Database) -> None:
    database.run("CREATE TABLE busy (id int)", f"CREATE TABLE free AS {FILL}", "ANALYZE free")
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()

        found = measured(database, "public.busy", "public.free")

        session = f"session {holder.info.backend_pid} of {database.url.user} (holder)"
        assert time.monotonic() - begun < 2
        assert list(found) == ["public.busy", "public.free"]
        assert found["public.busy"]["bytes"] is None
        assert found["public.busy"]["unmeasured"] == f"could not be measured: locked by {session}"
        assert (found["public.free"]["rows"], found["public.free"]["unmeasured"]) == (1000, "")
        assert found["public.free"]["bytes"] > 500_000


def test_an_index_that_is_locked_away_holds_up_its_own_table_only(database: Database) -> None:
    database.run("CREATE TABLE busy (id int PRIMARY KEY)", f"CREATE TABLE free AS {FILL}")
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("REINDEX INDEX busy_pkey")

        found = measured(database, "public.busy", "public.free")

        assert "locked by session" in found["public.busy"]["unmeasured"]
        assert found["public.free"]["bytes"] > 500_000


def test_who_waits_to_lock_a_table_away_is_not_waited_for_either(database: Database) -> None:
    database.run("CREATE TABLE busy (id int)")
    with database.connect() as reader, ThreadPoolExecutor(1) as other:
        with reader.transaction():
            reader.execute("SELECT * FROM busy")
            altering = other.submit(database.run, "ALTER TABLE busy ADD note text")

            def told() -> str:
                return str(measured(database, "public.busy")["public.busy"]["unmeasured"])

            wait_for(told, what="the ALTER to wait")
            assert "behind the waiting lock of session" in told()
        altering.result(10)


def test_one_locked_partition_leaves_the_sum_of_the_others(database: Database) -> None:
    partitioned(database)
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("LOCK TABLE orders_2 IN ACCESS EXCLUSIVE MODE")

        row = measured(database, "public.orders")["public.orders"]

        assert row["bytes"] > 500_000
        assert row["unmeasured"].startswith("1 of 3 partitions could not be measured, the first: locked by session")


def test_a_prepared_transaction_may_be_what_locks_it(other_cluster: postgres.Postgres) -> None:
    url = other_cluster.url()
    clusters.execute(url, "CREATE TABLE busy (id int)")
    with psycopg.connect(url) as session:
        session.execute("LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        session.execute("PREPARE TRANSACTION 'left over'")

    row = measured(Database(urls.parse(url)), "public.busy")["public.busy"]

    assert row["unmeasured"] == "could not be measured: locked by a prepared transaction"


def test_time_for_what_is_locked_is_bounded_however_much_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "BUDGET_S", 0.0)
    monkeypatch.setattr(sizes, "LOCK_TIMEOUT_MS", 50)
    names = [f"busy_{number}" for number in range(4)]
    database.run(*(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in names))
    with database.connect() as holder, holder.transaction():
        for name in names:
            holder.execute(f"REINDEX INDEX {name}_pkey".encode())

        found = measured(database, *(f"public.{name}" for name in names))

        assert all(row["bytes"] is None and row["unmeasured"] for row in found.values())


def test_more_partitions_than_are_measured_are_said_to_be_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "MOST_PARTS", 2)
    partitioned(database)

    row = measured(database, "public.orders")["public.orders"]

    assert row["unmeasured"] == "there are more partitions than are measured"


def test_a_view_and_a_partitioned_table_without_partitions_are_empty(database: Database) -> None:
    database.run("CREATE TABLE orders (id int) PARTITION BY LIST (id)", "CREATE VIEW seen AS SELECT 1")

    found = measured(database, "public.orders", "public.seen")

    assert [(row["bytes"], row["unmeasured"], row["partitions"]) for row in found.values()] == [(0, "", 0)] * 2
