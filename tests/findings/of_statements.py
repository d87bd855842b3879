"""The rules about one statement each: SQL that breaks one, and SQL that resembles it and does not."""

from __future__ import annotations

from pathlib import Path

from migrations_audit.engine.findings import statements
from tests.findings.cases import Part

PART = "(DELETE FROM orders WHERE a = 1), "
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
    ("update_without_where", "WITH q AS (SELECT 1) UPDATE orders AS o SET total = 0"),
    ("protection_removed", "ALTER TABLE orders DISABLE ROW LEVEL SECURITY"),
    ("protection_removed", "GRANT SELECT ON orders TO PUBLIC"),
    ("rewrites_table", "VACUUM FULL orders"),
    ("rewrites_table", "CLUSTER orders USING i"),
    ("explicit_lock", "LOCK TABLE orders IN EXCLUSIVE MODE"),
    ("references_lock", "CREATE TABLE lines (id int, o int REFERENCES orders (id))"),
    ("references_lock", "CREATE TABLE IF NOT EXISTS lines (o int, FOREIGN KEY (o) REFERENCES shop.orders)"),
    ("lint_could_not_run", f"WITH {PART * 101} x"),
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
    ("update_without_where", "UPDATE orders SET total = round(total), paid = (SELECT max(p) FROM q WHERE q.id = 1)"),
    ("update_without_where", "DO $$ BEGIN UPDATE orders SET s = CASE WHEN a THEN 1 ELSE 2 END; END $$"),
    ("lint_could_not_run", f"DO $$ {'BEGIN ' * 101} DROP TABLE orders $$"),
    ("drop_table", "-- harmless\rDROP TABLE orders"),
]
QUIET = [
    ("lint_could_not_run", f"WITH {PART * 100} x"),
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
    ("update_without_where", "UPDATE orders SET total = round(total) WHERE id = 1"),
    ("update_without_where", "UPDATE orders SET total = round(total) FROM (SELECT 1 AS id) q WHERE q.id = orders.id"),
    ("update_without_where", "DO $$ BEGIN UPDATE o SET s = CASE WHEN a THEN 1 ELSE 2 END WHERE id = 3; END $$"),
    ("delete_without_where", "DELETE FROM orders USING (SELECT 1 AS id) q WHERE orders.id = q.id"),
]


def found(sql: str, _: Path) -> set[str]:
    return {each.code for each in statements.of_sql(sql, place="x", in_transaction=False)}


OF_STATEMENTS = Part("statements", found, TRIGGERS, QUIET)
