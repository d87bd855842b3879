"""The forecast of locks: its order, its words, and what it says that it does not know."""

from __future__ import annotations

import re
from typing import Any

import pytest

from migrations_audit.engine.rehearsing import forecast
from migrations_audit.engine.rehearsing.types import Lock, Statement, Step
from migrations_audit.states import Blocks
from migrations_audit.templatetags import portal


def size(name: str, count: int | None = 8_192, **more: Any) -> dict[str, Any]:
    return {"name": name, "bytes": count, "rows": 10, "never_analyzed": False, "live": 10, **more}


def told(*statements: Statement, relations: list[dict[str, Any]], **more: Any) -> list[forecast.Entry]:
    return forecast.forecast([Step("r1", "upgrade", list(statements))], {"relations": relations, **more})


def locks(mode: str, relation: str, text: str = "ALTER TABLE a ADD b int", **more: Any) -> Statement:
    return Statement(text, locks=[Lock(mode, relation)], **more)


def test_the_worst_lock_comes_first() -> None:
    found = told(
        locks("ShareUpdateExclusiveLock", "public.c"),
        locks("ShareLock", "public.b"),
        locks("AccessExclusiveLock", "public.a"),
        relations=[size("public.a"), size("public.b"), size("public.c")],
    )

    assert [entry.relation for entry in found] == ["public.a", "public.b", "public.c"]


def test_a_rewrite_comes_before_a_larger_table_that_stays() -> None:
    found = told(
        locks("AccessExclusiveLock", "public.large"),
        locks("AccessExclusiveLock", "public.small", rewrites=["public.small"]),
        relations=[size("public.large", 10**9), size("public.small")],
    )

    assert [entry.rewritten for entry in found] == [True, False]
    assert "the table is written anew meanwhile" in found[0].sentence


def test_of_two_equal_locks_that_on_the_larger_table_comes_first() -> None:
    found = told(
        locks("AccessExclusiveLock", "public.small"),
        locks("AccessExclusiveLock", "public.large"),
        relations=[size("public.small"), size("public.large", 10**9)],
    )

    assert [entry.relation for entry in found] == ["public.large", "public.small"]


def test_a_table_held_by_a_long_transaction_comes_first_and_says_so() -> None:
    holder = {"relation": "public.small", "mode": "AccessShareLock", "transaction_s": 61.0}

    found = told(
        locks("AccessExclusiveLock", "public.large"),
        locks("AccessExclusiveLock", "public.small"),
        relations=[size("public.large", 10**9), size("public.small")],
        holders=[holder],
    )

    assert found[0].relation == "public.small"
    assert found[0].sentence.endswith(
        "1 session holds it now in a transaction older than a minute: this would wait for that, all others for this."
    )


@pytest.mark.parametrize(("count", "words"), [(1, "1 session holds it now."), (2, "2 sessions hold it now.")])
def test_those_who_hold_it_for_a_moment_are_counted(count: int, words: str) -> None:
    holders = [{"relation": "public.a", "mode": "AccessShareLock", "transaction_s": None}] * count

    (entry,) = told(locks("AccessExclusiveLock", "public.a"), relations=[size("public.a")], holders=holders)

    assert entry.sentence.endswith(words)
    assert entry.held_by == count


@pytest.mark.parametrize(
    ("wanted", "held", "behind"),
    [
        ("AccessExclusiveLock", "AccessShareLock", ", all others for this."),
        ("ShareLock", "RowExclusiveLock", ", all that write it for this."),
        ("ShareUpdateExclusiveLock", "ShareUpdateExclusiveLock", "."),
    ],
)
def test_who_waits_behind_a_waiting_lock_depends_on_its_mode(wanted: str, held: str, behind: str) -> None:
    holders = [{"relation": "public.a", "mode": held, "transaction_s": 61.0}]

    (entry,) = told(locks(wanted, "public.a"), relations=[size("public.a")], holders=holders)

    assert entry.sentence.endswith(f"older than a minute: this would wait for that{behind}")


def test_a_session_whose_lock_is_in_nobodys_way_is_not_named() -> None:
    holders = [{"relation": "public.a", "mode": "AccessShareLock, RowExclusiveLock", "transaction_s": 3_600.0}]

    (entry,) = told(locks("ShareUpdateExclusiveLock", "public.a"), relations=[size("public.a")], holders=holders)

    assert entry.sentence.endswith("reads and writes go on.")
    assert (entry.held_by, entry.weight[2]) == (0, 0)


def prepared(gid: str, seconds: float = 7_260.0, mode: str = "RowExclusiveLock") -> dict[str, Any]:
    return {"relation": "public.a", "mode": mode, "transaction_s": seconds, "gid": gid, "pid": None, "user": "bank"}


def test_a_prepared_transaction_is_named_with_what_ends_it() -> None:
    session = {"relation": "public.a", "mode": "AccessShareLock", "transaction_s": 61.0, "gid": ""}

    (entry,) = told(
        locks("AccessExclusiveLock", "public.a"), relations=[size("public.a")], holders=[session, prepared("pay-7")]
    )

    assert entry.sentence.endswith(
        "1 session holds it now in a transaction older than a minute: this would wait for that, all others for this. It is "
        "held by the prepared transaction “pay-7” of bank, 2 hours old: only COMMIT PREPARED or ROLLBACK PREPARED ends it."
    )
    assert entry.held_by == 2


def test_a_young_prepared_transaction_is_named_as_well_and_one_that_is_in_nobodys_way_is_not() -> None:
    holders = [prepared("young", 4.0), prepared("reader", mode="AccessShareLock")]

    (entry,) = told(locks("ShareLock", "public.a"), relations=[size("public.a")], holders=holders)

    assert "“young” of bank, less than a minute old" in entry.sentence
    assert "reader" not in entry.sentence


def test_of_many_prepared_transactions_the_first_are_named() -> None:
    holders = [prepared(str(number), 90.0) for number in range(5)]

    (entry,) = told(locks("ShareLock", "public.a"), relations=[size("public.a")], holders=holders)

    assert entry.sentence.count("1 minute old") == forecast.MOST_PREPARED
    assert entry.sentence.endswith(" 2 more prepared transactions hold it.")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (8_192, "8.0 kB"), (10_240, "10 kB"), (3 * 1024**2, "3.0 MB"), (5 * 1024**4, "5.0 TB")],
)
def test_sizes_are_told_in_words(count: int, words: str) -> None:
    (entry,) = told(locks("ShareLock", "public.a"), relations=[size("public.a", count)])

    assert entry.sentence.startswith(f"Share on public.a ({words}, about 10 rows)")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"rows": 1}, "about 1 row)"),
        ({"rows": 1_234_567}, "about 1,234,567 rows)"),
        ({"never_analyzed": True, "live": 0}, "never analyzed)"),
        ({"never_analyzed": True, "live": 7}, "about 7 rows)"),
    ],
)
def test_rows_are_told_as_far_as_they_are_known(row: dict[str, Any], words: str) -> None:
    (entry,) = told(locks("ShareLock", "public.a"), relations=[size("public.a", **row)])

    assert words in entry.sentence


LOCKED = "could not be measured: locked by session 7 of app (psql)"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (size("public.a", 3 * 1024**2, partitions=12), "3.0 MB in 12 partitions, about 10 rows"),
        (size("public.a", 3 * 1024**2, partitions=1), "3.0 MB in 1 partition, about 10 rows"),
        (
            size("public.a", heirs=2, heirs_bytes=2 * 8_192),
            "8.0 kB, about 10 rows, and with 2 tables that inherit from it 24 kB",
        ),
        (size("public.a", None, unmeasured=LOCKED), f"{LOCKED}, about 10 rows"),
        (
            size("public.a", partitions=3, unmeasured="1 of 3 partitions could not be measured"),
            "at least 8.0 kB in 3 partitions, about 10 rows, 1 of 3 partitions could not be measured",
        ),
    ],
)
def test_a_size_says_of_what_it_is_and_what_of_it_is_not_known(row: dict[str, Any], words: str) -> None:
    (entry,) = told(locks("ShareLock", "public.a"), relations=[row])

    assert entry.sentence.startswith(f"Share on public.a ({words}), ")


@pytest.mark.parametrize("relations", [[], [size("public.a", None)]])
def test_a_lock_is_told_although_the_size_of_its_table_is_not(relations: list[dict[str, Any]]) -> None:
    statement = locks("AccessExclusiveLock", "public.a", rewrites=["public.a"])

    (entry,) = told(statement, relations=relations, problem="The target did not answer.")

    assert entry.sentence.startswith("AccessExclusive on public.a (size not told), the table is written anew meanwhile")
    assert (entry.bytes, entry.weight) == (None, (4, 1, 0, 0))


def test_only_the_strongest_lock_of_a_statement_counts() -> None:
    statement = Statement(
        "ALTER TABLE a ADD b int",
        locks=[
            Lock("AccessShareLock", "public.a"),
            Lock("AccessExclusiveLock", "public.a"),
            Lock("ShareLock", "public.a"),
        ],
    )

    (entry,) = told(statement, relations=[size("public.a")])

    assert entry.mode == "AccessExclusiveLock"


def test_reads_are_no_forecast() -> None:
    assert told(locks("AccessShareLock", "public.a"), relations=[size("public.a")]) == []


def test_of_a_write_it_is_told_that_its_rows_are_held() -> None:
    found = told(
        locks("ShareUpdateExclusiveLock", "public.b"),
        locks("RowExclusiveLock", "public.a", text="UPDATE a SET b = 1"),
        relations=[size("public.a"), size("public.b")],
    )

    assert [entry.relation for entry in found] == ["public.a", "public.b"]
    assert "rows that it changes cannot be written by others until the transaction ends" in found[0].sentence


def test_that_alembic_writes_its_own_rows_is_no_forecast_and_a_stronger_lock_on_them_is() -> None:
    steps = [
        Step("r1", "upgrade", [locks("RowExclusiveLock", 'app."Versions"'), locks("RowExclusiveLock", "app.stock")]),
        Step("r2", "upgrade", [locks("ShareLock", 'app."Versions"')]),
    ]

    found = forecast.forecast(steps, {}, version_table="Versions")

    assert [(entry.mode, entry.relation) for entry in found] == [
        ("ShareLock", 'app."Versions"'),
        ("RowExclusiveLock", "app.stock"),
    ]


def test_a_statement_outside_a_transaction_says_that_its_locks_were_gone() -> None:
    (entry,) = told(Statement("VACUUM a", in_autocommit=True), relations=[])

    assert entry.sentence == "Runs outside a transaction, so its locks were gone before they could be seen."


def test_what_works_concurrently_is_lighter_than_what_is_not_known() -> None:
    found = told(
        Statement("/* x */ CREATE INDEX CONCURRENTLY i ON a (b)", in_autocommit=True),
        Statement("VACUUM FULL a", in_autocommit=True),
        relations=[],
    )

    assert [entry.statement for entry in found] == ["VACUUM FULL a", "/* x */ CREATE INDEX CONCURRENTLY i ON a (b)"]
    assert "an invalid index stays" in found[1].sentence


def test_statements_that_nobody_looked_at_are_told_once() -> None:
    found = told(*[Statement(f"SELECT {number}", unseen=True) for number in range(3)], relations=[])

    assert [entry.statement for entry in found] == ["SELECT 0"]
    assert "are not known" in found[0].sentence


def test_a_long_statement_is_cut() -> None:
    (entry,) = told(locks("ShareLock", "public.a", text=f"SELECT\n{'x' * 500}"), relations=[size("public.a")])

    assert len(entry.statement) == 161
    assert entry.statement.endswith("…")


def test_a_forecast_fits_into_json() -> None:
    (entry,) = told(locks("ShareLock", "public.a"), relations=[size("public.a")])

    assert entry.as_dict()["weight"] == (3, 0, 0, 8_192)


def test_each_thing_that_a_lock_blocks_has_a_rank_and_a_chip_of_its_own() -> None:
    modes = {"AccessExclusiveLock": "blocks all", "ShareLock": "blocks writes", "RowExclusiveLock": "blocks rows"}
    chips = {}
    for mode in modes:
        (entry,) = told(locks(mode, "public.a"), relations=[size("public.a")])
        chips[mode] = re.sub("<[^>]*>", "", portal.weight_chip(entry.as_dict())).strip()

    assert chips == modes
    assert set(portal.WEIGHTS) == set(Blocks)
