"""The queries of needed rows, on PostgreSQL: each finds the row that makes the statement fail, and none where it passes."""

from __future__ import annotations

import psycopg
import pytest

from migrations_audit.engine.findings import splitter
from migrations_audit.engine.rehearsing.needed_rows import Needed
from tests.conftest import MakeTargetDatabase

TABLES = """
CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1);
CREATE TABLE orders (id int, total int, code varchar(20), u int, during int4range);
"""
GOOD = "INSERT INTO orders VALUES (1, 1, 'a', 1, '[1,2)')"
CASES = [
    ("ALTER TABLE orders ALTER COLUMN total SET NOT NULL", "INSERT INTO orders (id) VALUES (2)"),
    ("ALTER TABLE orders ADD CONSTRAINT q UNIQUE (id, total)", GOOD),
    ("ALTER TABLE orders ADD PRIMARY KEY (id)", "INSERT INTO orders (total) VALUES (2)"),
    ("ALTER TABLE orders ADD CONSTRAINT c CHECK (total > 0)", "INSERT INTO orders (total) VALUES (0)"),
    ("ALTER TABLE orders ADD FOREIGN KEY (u) REFERENCES users (id)", "INSERT INTO orders (u) VALUES (2)"),
    ("ALTER TABLE orders ADD EXCLUDE USING gist (during WITH &&)", "INSERT INTO orders (during) VALUES ('[1,5)')"),
    ("ALTER TABLE orders ALTER code TYPE varchar(3)", "INSERT INTO orders (code) VALUES ('abcd')"),
    ("CREATE UNIQUE INDEX i ON orders (lower(code) DESC) WHERE total > 0", "INSERT INTO orders (total, code) VALUES (1, 'A')"),
]  # fmt: skip


def query(sql: str) -> str:
    (statement,) = splitter.split(sql)
    (need,) = Needed({}, version_table="alembic_version").of(statement)
    return need.query


def found(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> bool:
    rows = connection.execute(query(sql).encode()).fetchall()
    return bool(rows) and rows[0][-1] != 0


@pytest.mark.parametrize(("sql", "bad"), CASES)
def test_a_query_finds_exactly_what_makes_the_statement_fail(
    make_target_database: MakeTargetDatabase, sql: str, bad: str
) -> None:
    with psycopg.connect(make_target_database("needed"), autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute(GOOD)
        assert not found(connection, sql)
        with connection.transaction(force_rollback=True):
            connection.execute(sql.encode())
        connection.execute(bad.encode())

        assert found(connection, sql)
        with pytest.raises(psycopg.Error):
            connection.execute(sql.encode())
