"""What a statement needs of rows that a copy lacks: told for tables that may hold some, and for no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from migrations_audit.engine.findings import splitter
from migrations_audit.engine.rehearsing.needed_rows import Needed

BEFORE: Final = {
    "table public.orders": "table",
    "table shop.orders": "table",
    "table public.users": "table",
    "column public.orders.total": "integer not null",
    "column public.orders.code": "character varying(20)",
}


def needs(sql: str, before: Mapping[str, str] = BEFORE) -> list[str]:
    needed = Needed(before, version_table="alembic_version")
    return [str(each) for statement in splitter.split(sql) for each in needed.of(statement)]


LOOP = "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM orders LOOP PERFORM f(r.id); END LOOP; END $$"
TOLD: Final = [
    ("ALTER TABLE shop.orders ALTER COLUMN total SET NOT NULL", "WHERE total IS NULL;"),
    ("ALTER TABLE ONLY orders ALTER total SET NOT NULL, ALTER b DROP DEFAULT", "FROM orders WHERE total IS NULL;"),
    ("ALTER TABLE orders ADD CONSTRAINT n NOT NULL total", "WHERE total IS NULL;"),
    ("ALTER TABLE orders ADD COLUMN a int NOT NULL", "any row at all"),
    ("ALTER TABLE orders ADD IF NOT EXISTS a int DEFAULT NULL NOT NULL", "any row at all"),
    ("ALTER TABLE orders ADD a int DEFAULT 1 UNIQUE", "more than one row"),
    ("ALTER TABLE orders ADD a int DEFAULT 1 CHECK (a > 1)", "if the default breaks"),
    ("ALTER TABLE orders ADD CONSTRAINT u UNIQUE (a, b)", "SELECT a, b, count(*) FROM orders WHERE a IS NOT NULL AND b"),
    ("ALTER TABLE orders ADD UNIQUE NULLS NOT DISTINCT (a)", "FROM orders GROUP BY a HAVING count(*) > 1;"),
    ("ALTER TABLE orders ADD PRIMARY KEY (id)", "HAVING count(*) > 1 OR id IS NULL;"),
    ("ALTER TABLE orders ADD PRIMARY KEY USING INDEX i", "a NULL in a column of the index."),
    ("ALTER TABLE orders ADD CONSTRAINT c CHECK (s IN ('a'))", "(with the statement's own literals): SELECT count(*)"),
    ("ALTER TABLE orders ADD FOREIGN KEY (u) REFERENCES users", "whose u is not in users."),
    ("ALTER TABLE orders ADD CONSTRAINT x EXCLUDE USING gist (a WITH =, b WITH &&)", "a.a = b.a AND a.b && b.b;"),
    ("ALTER TABLE orders VALIDATE CONSTRAINT c", "conname = 'c';"),
    ("ALTER TABLE orders ADD CONSTRAINT c CHECK (a > 0) NOT VALID; ALTER TABLE orders VALIDATE CONSTRAINT c", "NOT (a > 0);"),
    ("ALTER TABLE orders ALTER code TYPE varchar(10)", "length(code::text) > 10;"),
    ("ALTER TABLE orders ALTER total TYPE smallint", "count(total::smallint)"),
    ("ALTER TABLE orders ALTER code SET DATA TYPE int USING code::int", "count((code::int)::int)"),
    ("CREATE UNIQUE INDEX CONCURRENTLY i ON orders (lower(code) DESC) WHERE total > 0", "SELECT lower(code), count(*)"),
    ("UPDATE orders SET total = 1 WHERE code IS DISTINCT FROM users", "rows of orders"),
    ("WITH gone AS (DELETE FROM orders RETURNING 1) SELECT 1", "rows of orders"),
    ("MERGE INTO orders o USING users u ON u.id = o.id WHEN MATCHED THEN DELETE", "rows of orders"),
    ("INSERT INTO users SELECT 1 FROM orders", "rows of orders"),
    ("SELECT id FROM users u, orders", "rows of orders"),
    (LOOP, "its block goes through rows of orders"),
    ("CREATE TABLE t (a int); INSERT INTO t SELECT id FROM users; CREATE UNIQUE INDEX i ON t (a)", "FROM t WHERE a IS NOT NULL"),
    ("CREATE TABLE t AS SELECT id FROM users; ALTER TABLE t ADD PRIMARY KEY (id)", "FROM t GROUP BY id"),
]  # fmt: skip
UNTOLD: Final = [
    "CREATE TABLE t (a int); ALTER TABLE t ALTER a SET NOT NULL; CREATE UNIQUE INDEX i ON t (a); INSERT INTO t VALUES (1)",
    "CREATE TABLE t (a int REFERENCES orders); UPDATE t SET a = 1",
    "ALTER TABLE orders ADD a int, ADD b int NOT NULL DEFAULT 0, ADD c serial NOT NULL, ADD d int GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (u) REFERENCES users (id) NOT VALID",
    "ALTER TABLE orders ADD CONSTRAINT u UNIQUE USING INDEX i",
    "ALTER TABLE orders ALTER total TYPE bigint, ALTER code TYPE text, ALTER b DROP NOT NULL",
    "ALTER TABLE orders ALTER code TYPE varchar(20)",
    "CREATE INDEX i ON orders (total)",
    "INSERT INTO orders VALUES (1) ON CONFLICT (id) DO UPDATE SET total = 1",
    "SELECT relname FROM pg_class, pg_catalog.pg_namespace",
    "SELECT * FROM generate_series(1, 2)",
    "UPDATE alembic_version SET version_num = '2'",
    "DO $$ BEGIN PERFORM 1 FROM pg_tables; END $$",
]


@pytest.mark.parametrize(("sql", "said"), TOLD)
def test_a_statement_that_rests_on_rows_is_told_with_a_query(sql: str, said: str) -> None:
    assert said in " ".join(needs(sql))


@pytest.mark.parametrize("sql", UNTOLD)
def test_one_that_does_not_is_not(sql: str) -> None:
    assert needs(sql) == []


@pytest.mark.parametrize("sql", [each for each in UNTOLD if "TYPE" not in each])
def test_nor_where_the_catalog_is_not_known(sql: str) -> None:
    assert needs(sql, {}) == []


def test_a_change_of_several_columns_is_told_once_each() -> None:
    assert len(needs("ALTER TABLE orders ALTER a SET NOT NULL, ALTER b SET NOT NULL, ADD UNIQUE (c)")) == 3
