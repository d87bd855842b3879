"""A script that asks whether it only writes its SQL may do something else on a database: the copy shows it."""

from __future__ import annotations

import pytest

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing import unsaid
from migrations_audit.engine.rehearsing.types import Pass, Statement, Step

SQL = """BEGIN;

-- Running upgrade  -> r1

UPDATE orders SET note = 'x', total = 5, paid = true WHERE id = 7;

ALTER TABLE orders ADD COLUMN mail VARCHAR(20);

DO $$ BEGIN EXECUTE format('SELECT %s', $1); END $$;

INSERT INTO alembic_version (version_num) VALUES ('r1') RETURNING alembic_version.version_num;

COMMIT;
"""
PLANNED = [
    "UPDATE orders SET note = 'x', total = 5, paid = true WHERE id = 7",
    "UPDATE orders SET note=%(note)s, total=%(total)s, paid=%(paid)s WHERE id = %(id_1)s",
    "UPDATE orders SET note=$1::VARCHAR, total=$2::INTEGER, paid=$3::BOOLEAN WHERE id = $4::INTEGER",
    "update orders set note = %s, total = 5, paid = %s\n where id = %s",
    "\nALTER TABLE orders ADD COLUMN mail VARCHAR(20)",
    "DO $$ BEGIN EXECUTE format('SELECT %s', $1); END $$",
    "DO $$ BEGIN EXECUTE format('SELECT %%s', $1); END $$",
    "ALTER TABLE orders ADD COLUMN mail VARCHAR(20); COMMIT;",
]
NOT_PLANNED = [
    "DROP TABLE orders",
    "-- harmless\rDROP TABLE orders",
    "UPDATE orders SET note=%(note)s",
    "UPDATE orders SET note = 'x', total = 6, paid = true WHERE id = 7",
    "DO $$ BEGIN DROP TABLE orders; END $$",
    "ALTER TABLE orders ADD COLUMN mail VARCHAR(20); DROP TABLE orders",
]


def left(text: str, sql: str = SQL, *, cut: int = 0) -> list[str]:
    there = Pass((Step("r1", "upgrade", [Statement(text, cut=cut)]),))
    return [each.text for step in unsaid.besides(there, sql).steps for each in step.statements]


@pytest.mark.parametrize("text", PLANNED)
def test_what_the_plan_says_is_found_again_as_a_driver_gets_it(text: str) -> None:
    assert left(text) == []


@pytest.mark.parametrize("text", NOT_PLANNED)
def test_what_the_plan_does_not_say_is_left(text: str) -> None:
    assert left(text) == [text]


def test_without_sql_everything_is() -> None:
    assert left("SELECT 1", "") == ["SELECT 1"]


def test_a_text_that_was_cut_off_is_known_by_its_beginning() -> None:
    columns = ", ".join(f"column_{number} int" for number in range(1000))
    sql = f"CREATE TABLE wide ({columns});"

    assert left(sql[:4_000], sql, cut=9_000) == []
    assert left(sql[:4_000], sql) != []
    assert left(f"DROP TABLE a; {sql}"[:4_000], sql, cut=9_000) != []


BEFORE = {
    "table public.users": "table",
    "column public.users.id": "integer",
    "column public.users.old": "text",
    "table public.parts": "table, partitioned by RANGE (k)",
    "table public.part_1": "table, child of public.parts, FOR VALUES FROM (0) TO (10)",
    "column public.part_1.k": "integer",
    "index public.i": "CREATE INDEX i",
    "table public.alembic_version": "table",
}


def drops(after: dict[str, str], statement: str = "", *told: tuple[str, str]) -> list[tuple[str, str]]:
    """The codes, and the objects that their sentences name. ``told`` are codes and sentences of other findings."""
    step = Step("r1", "upgrade", [Statement(statement)] if statement else [], changes=catalog.diff(BEFORE, after))
    findings = [(code, "versions/r1.py, SQL line 3", sentence) for code, sentence in told]
    found = unsaid.drops(step, "versions/r1.py", findings, version_table="alembic_version")
    return [(each.code, each.sentence.partition(" on the copy")[0].partition("no ")[2]) for each in found]


def without(*names: str) -> dict[str, str]:
    return {key: value for key, value in BEFORE.items() if not any(name in key for name in names)}


def test_a_table_or_column_that_nothing_says_is_dropped_is_named() -> None:
    assert drops(without("users", "public.i", "alembic_version")) == [("drop_table", "table public.users")]
    assert drops(without("users.old")) == [("drop_column", "column public.users.old")]


def test_what_a_finding_names_is_not_told_twice() -> None:
    assert drops(without("users"), "", ("drop_table", "DROP TABLE users: A table is dropped.")) == []
    assert drops(without("users"), "", ("drop_schema", "DROP SCHEMA public: A schema is dropped.")) == []
    assert drops(without("users.old"), "", ("drop_column", "ALTER TABLE users DROP old: It is.")) == []


def test_what_a_finding_only_resembles_is() -> None:
    assert drops(without("users"), "", ("drop_table", "DROP TABLE old_users: A table is dropped.")) != []
    assert drops(without("users"), "", ("renames", "ALTER TABLE users RENAME a TO b: Something is renamed.")) != []


def test_a_partition_goes_with_its_table() -> None:
    assert drops(without("part"), "DROP TABLE parts") == [("drop_table", "table public.parts")]


@pytest.mark.parametrize(
    ("old", "new", "statement"),
    [
        ("public.users", "public.people", "ALTER TABLE users RENAME TO people"),
        ("public.users", "archive.users", "ALTER TABLE users SET SCHEMA archive"),
        ("users.old", "users.older", "ALTER TABLE users RENAME COLUMN old TO older"),
        ("users.old", "users.older", "DO $$ BEGIN ALTER TABLE users RENAME old TO older; END $$"),
    ],
)
def test_what_only_has_another_name_is_not_dropped(old: str, new: str, statement: str) -> None:
    after = {key.replace(old, new): value for key, value in BEFORE.items()}

    assert drops(after, statement) == []
    assert drops(after, "ALTER TABLE orders RENAME a TO b") != []
