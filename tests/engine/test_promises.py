"""Which tables the SQL of a plan promises."""

from __future__ import annotations

import pytest

from migrations_audit.engine import promises
from migrations_audit.engine.types import Catalog


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("BEGIN;\n\nCREATE TABLE analytics_modules (\n id int\n);", ("analytics_modules",)),
        ("CREATE TABLE IF NOT EXISTS app.orders (id int);", ("app.orders",)),
        ('CREATE UNLOGGED TABLE "My ""Table" (id int);', ('My "Table',)),
        ("create table Users (id int)", ("users",)),
        ("CREATE TABLE a (id int REFERENCES b ON DELETE CASCADE);", ("a",)),
        ("CREATE TEMPORARY TABLE scratch (id int);", ()),
        ("-- CREATE TABLE a (id int);\n/* ;CREATE TABLE b (id int); */", ()),
        ("CREATE FUNCTION f() RETURNS void AS $body$ ; CREATE TABLE c (id int); $body$ LANGUAGE sql;", ()),
        ("INSERT INTO notes VALUES ('; CREATE TABLE d (id int)');", ()),
        ("CREATE TABLE alembic_version (version_num varchar(32));", ()),
        ("CREATE TABLE a (id int); DROP TABLE a;", ()),
        ("CREATE TABLE a (id int);-- harmless\rDROP TABLE a;", ()),
        ("CREATE TABLE foo (id int); DROP TABLE public.foo;", ()),
        ("CREATE TABLE s.a (id int); ALTER TABLE s.a RENAME TO b;", ()),
        ("CREATE TABLE public.foo (id int); ALTER TABLE foo RENAME TO bar;", ()),
        ("CREATE TABLE a (id int); ALTER TABLE x_seq RENAME TO y_seq;", ("a",)),
        ("CREATE TABLE a (id int); ALTER TABLE IF EXISTS old RENAME TO older;", ("a",)),
        ("CREATE TABLE m (id int) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m DEFAULT; DROP TABLE m;", ()),
        ("CREATE TABLE s.t (id int); DROP SCHEMA s CASCADE;", ()),
        ("CREATE TABLE public.t (id int); ALTER TABLE public.t SET SCHEMA arch;", ()),
        ("CREATE TABLE t (id int); DO $$ BEGIN DROP TABLE t; END $$;", ()),
        ("CREATE TABLE pg_temp.t (id int);", ()),
        ("CREATE TABLE a (id int); DROP TABLE b CASCADE", ()),
        ("CREATE TABLE a (id int); ALTER TABLE a ADD FOREIGN KEY (id) REFERENCES b ON DELETE CASCADE;", ("a",)),
    ],
)
def test_the_tables_that_must_be_there(sql: str, names: tuple[str, ...]) -> None:
    assert promises.of_sql(sql, version_table="alembic_version") == names


def test_an_absent_table_is_named() -> None:
    catalog = Catalog(
        fingerprint="", body={"table app.kept": "table", 'table public."B c"': "table", "table app.a": "table"}
    )

    assert promises.broken(("analytics_modules", "app.kept", "a", "B c"), catalog) == (
        "table analytics_modules is absent",
    )
