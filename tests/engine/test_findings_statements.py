"""Statements that destroy, lock another table, or cannot run where they stand: what triggers each rule and what does not."""

from __future__ import annotations

import pytest

from migrations_audit.engine.findings import statements
from migrations_audit.severities import Severity
from migrations_audit.states import Engine


def codes(sql: str, *, in_transaction: bool = False, engine: Engine = Engine.POSTGRESQL) -> set[str]:
    found = statements.of_sql(sql, place="x", in_transaction=in_transaction, engine=engine)
    return {each.code for each in found}


TRIGGERS = [
    ("drop_table", "DROP TABLE orders"),
    ("drop_table", "drop /* sly */ table if exists a, b"),
    ("drop_table", "DROP FOREIGN TABLE f"),
    ("drop_column", "ALTER TABLE orders DROP COLUMN total"),
    ("drop_column", "ALTER TABLE IF EXISTS ONLY shop.orders DROP total"),
    ("drop_column", "ALTER TABLE orders ADD COLUMN a int, DROP COLUMN IF EXISTS b"),
    ("drop_column", "ALTER TYPE pair DROP ATTRIBUTE a"),
    ("drop_schema", "DROP SCHEMA shop"),
    ("drop_schema", "DROP DATABASE shop"),
    ("drop_cascade", "DROP TABLE orders CASCADE"),
    ("drop_cascade", "ALTER TABLE orders DROP COLUMN a CASCADE, ADD COLUMN b int"),
    ("drop_cascade", "TRUNCATE orders CASCADE"),
    ("drop_object", "DROP MATERIALIZED VIEW v"),
    ("drop_object", "DROP FUNCTION f(int)"),
    ("drop_object", "ALTER TABLE orders DROP CONSTRAINT orders_pkey"),
    ("drop_object", "ALTER DOMAIN d DROP CONSTRAINT c"),
    ("truncate", "TRUNCATE TABLE orders"),
    ("truncate", "truncate orders, lines"),
    ("delete_without_where", "DELETE FROM orders"),
    ("delete_without_where", "DELETE FROM orders WHERE true"),
    ("delete_without_where", "DELETE FROM orders WHERE 1 = 1 RETURNING id"),
    ("delete_without_where", "DELETE FROM orders USING (SELECT 1 WHERE false) q"),
    ("delete_without_where", "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone WHERE id = 1"),
    ("update_without_where", "UPDATE orders SET total = 0"),
    ("update_without_where", "UPDATE orders SET total = (SELECT 1 WHERE true)"),
    ("update_without_where", "UPDATE orders SET total = round(total), paid = (SELECT max(p) FROM q WHERE q.id = 1)"),
    ("update_without_where", "DO $$ BEGIN UPDATE orders SET s = CASE WHEN a THEN 1 ELSE 2 END; END $$"),
    ("lint_could_not_run", f"DO $$ {'BEGIN ' * 101} DROP TABLE orders $$"),
    ("drop_table", "-- harmless\rDROP TABLE orders"),
    ("update_without_where", "WITH q AS (SELECT 1) UPDATE orders AS o SET total = 0"),
    ("protection_removed", "ALTER TABLE orders DISABLE ROW LEVEL SECURITY"),
    ("protection_removed", "GRANT SELECT ON orders TO PUBLIC"),
    ("rewrites_table", "VACUUM FULL orders"),
    ("rewrites_table", "CLUSTER orders USING i"),
    ("explicit_lock", "LOCK TABLE orders IN EXCLUSIVE MODE"),
    ("references_lock", "CREATE TABLE lines (id int, o int REFERENCES orders (id))"),
    ("references_lock", "CREATE TABLE IF NOT EXISTS lines (o int, FOREIGN KEY (o) REFERENCES shop.orders)"),
    ("lint_could_not_run", f"WITH {'(DELETE FROM orders WHERE a = 1), ' * 101} x"),
    ("references_lock", "CREATE TABLE IF NOT EXISTS a (id int); CREATE TABLE b (o int REFERENCES a)"),
    ("do_block", "DO $$ BEGIN PERFORM 1; END $$"),
    ("drop_table", "DO $$ BEGIN IF true THEN DROP TABLE orders; END IF; END $$"),
    ("delete_without_where", "DO LANGUAGE plpgsql $x$ BEGIN DELETE FROM orders; END $x$"),
    ("nested_transaction", "BEGIN; SELECT 1; BEGIN; SELECT 2; COMMIT"),
    ("nested_transaction", "BEGIN; SELECT 1; COMMIT; SELECT 2; COMMIT"),
    ("nested_transaction", "BEGIN; ROLLBACK"),
    ("not_in_transaction", "BEGIN; CREATE UNIQUE INDEX CONCURRENTLY i ON orders (a); COMMIT"),
    ("not_in_transaction", "BEGIN; DROP INDEX CONCURRENTLY i; COMMIT"),
    ("not_in_transaction", "BEGIN; VACUUM orders; COMMIT"),
    ("not_in_transaction", "BEGIN; ALTER TABLE p DETACH PARTITION q CONCURRENTLY; COMMIT"),
]
QUIET = [
    ("drop_table", "CREATE TABLE \"DROP TABLE x\" (id int); SELECT 'DROP TABLE x'; -- DROP TABLE x"),
    ("drop_table", "DROP TABLE alembic_version"),
    ("drop_column", "ALTER TABLE orders ALTER COLUMN a DROP DEFAULT, ALTER b DROP NOT NULL"),
    ("drop_column", "ALTER TABLE orders DROP CONSTRAINT c, ADD COLUMN a text DEFAULT 'DROP'"),
    ("drop_schema", "CREATE SCHEMA shop"),
    ("drop_cascade", "ALTER TABLE lines ADD FOREIGN KEY (o) REFERENCES orders ON DELETE CASCADE"),
    ("drop_cascade", "DROP TABLE cascade_log RESTRICT"),
    ("drop_object", "DROP TABLE orders"),
    ("truncate", 'SELECT truncate FROM "truncate"'),
    ("delete_without_where", "DELETE FROM orders WHERE id = 1"),
    ("delete_without_where", "CREATE TRIGGER t BEFORE DELETE ON orders EXECUTE FUNCTION f()"),
    ("delete_without_where", "GRANT DELETE ON orders TO clerk"),
    ("update_without_where", "UPDATE orders SET total = 0 WHERE id IN (SELECT 1)"),
    ("update_without_where", "UPDATE orders SET total = round(total) WHERE id = 1"),
    ("update_without_where", "UPDATE orders SET total = round(total) FROM (SELECT 1 AS id) q WHERE q.id = orders.id"),
    ("update_without_where", "DO $$ BEGIN UPDATE o SET s = CASE WHEN a THEN 1 ELSE 2 END WHERE id = 3; END $$"),
    ("delete_without_where", "DELETE FROM orders USING (SELECT 1 AS id) q WHERE orders.id = q.id"),
    ("update_without_where", "INSERT INTO o VALUES (1) ON CONFLICT (id) DO UPDATE SET a = 1"),
    ("update_without_where", "SELECT * FROM orders FOR UPDATE"),
    ("protection_removed", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; GRANT SELECT ON orders TO clerk"),
    ("rewrites_table", "VACUUM orders"),
    ("explicit_lock", "SELECT lock FROM orders"),
    ("references_lock", "CREATE TABLE orders (id int PRIMARY KEY, up int REFERENCES orders)"),
    ("references_lock", "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE lines (o int REFERENCES orders)"),
    ("do_block", "INSERT INTO o VALUES (1) ON CONFLICT DO NOTHING"),
    ("nested_transaction", "BEGIN; SELECT 1; COMMIT; CREATE INDEX CONCURRENTLY i ON o (a); BEGIN; SELECT 2; COMMIT"),
    ("nested_transaction", "BEGIN; SAVEPOINT a; ROLLBACK TO SAVEPOINT a; COMMIT"),
    ("not_in_transaction", "BEGIN; COMMIT; CREATE INDEX CONCURRENTLY i ON o (a); BEGIN; COMMIT"),
    ("not_in_transaction", "BEGIN; REFRESH MATERIALIZED VIEW CONCURRENTLY v; COMMIT"),
    ("not_in_transaction", "BEGIN; CREATE INDEX i ON o (concurrently_run); COMMIT"),
]


@pytest.mark.parametrize(("code", "sql"), TRIGGERS)
def test_a_rule_finds(code: str, sql: str) -> None:
    assert code in codes(sql)


@pytest.mark.parametrize(("code", "sql"), QUIET)
def test_a_rule_leaves_alone(code: str, sql: str) -> None:
    assert code not in codes(sql)


def test_what_differs_in_dollar_quotes_is_told_in_another_sentence() -> None:
    one, other = (
        {each.sentence for each in statements.of_sql(sql, place="x", in_transaction=True)}
        for sql in ("DO $$ BEGIN DROP TABLE a; END $$", "DO $$ BEGIN DROP TABLE b; END $$")
    )

    assert len(one) == len(other) == 2
    assert not one & other


def test_a_transaction_that_was_open_before_counts() -> None:
    sql = "CREATE INDEX CONCURRENTLY i ON orders (a)"

    assert "not_in_transaction" in codes(sql, in_transaction=True)
    assert "not_in_transaction" not in codes(sql, in_transaction=False)


def test_a_finding_says_where_how_bad_and_the_safer_way_without_any_literal() -> None:
    (found,) = statements.of_sql(
        "SELECT 1;\n\nUPDATE people SET password = 'hunter2'", place="versions/3.py", in_transaction=True
    )

    assert (found.code, found.severity, found.place) == (
        "update_without_where",
        Severity.ERROR,
        "versions/3.py, line 3",
    )
    assert found.sentence.startswith("UPDATE people SET password = '…': Every row")
    assert "WHERE" in found.advice
    assert found.as_dict()["severity"] == "error"


def test_on_another_engine_only_what_destroys_is_found() -> None:
    sql = "/*!40000 TRUNCATE orders */; CREATE TABLE l (o int REFERENCES orders (id)); BEGIN; BEGIN"

    assert codes(sql, engine=Engine.MARIADB) == {"truncate"}


def test_sql_that_is_too_long_is_told_and_not_passed_over() -> None:
    (found,) = statements.of_sql("-" * (statements.LONGEST_SQL + 1), place="x", in_transaction=True)

    assert found.code == "lint_could_not_run"
