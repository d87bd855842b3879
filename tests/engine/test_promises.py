"""What the SQL of a plan promises about tables."""

from __future__ import annotations

import pytest

from migrations_audit.engine import promises
from migrations_audit.engine.types import Catalog


def present(sql: str) -> tuple[str, ...]:
    return promises.of_sql(sql, version_table="alembic_version").present


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("BEGIN;\n\nCREATE TABLE analytics_modules (\n id int\n);", ("analytics_modules",)),
        ("CREATE TABLE IF NOT EXISTS app.orders (id int);", ("app.orders",)),
        ('CREATE UNLOGGED TABLE "My ""Table" (id int);', ('My "Table',)),
        ("create table Users (id int)", ("users",)),
        ("CREATE TEMPORARY TABLE scratch (id int);", ()),
        ("-- CREATE TABLE a (id int);\n/* ;CREATE TABLE b (id int); */", ()),
        ("CREATE FUNCTION f() RETURNS void AS $body$ ; CREATE TABLE c (id int); $body$ LANGUAGE sql;", ()),
        ("INSERT INTO notes VALUES ('; CREATE TABLE d (id int)');", ()),
        ("CREATE TABLE alembic_version (version_num varchar(32));", ()),
        ("CREATE TABLE a (id int); DROP TABLE a;", ()),
        ("CREATE TABLE s.a (id int); ALTER TABLE s.a RENAME TO b;", ("s.b",)),
        ("ALTER TABLE a RENAME COLUMN x TO y;", ()),
        ("CREATE TABLE a AS SELECT 1; DROP TABLE IF EXISTS a, b;", ()),
    ],
)
def test_the_tables_that_must_be_there(sql: str, names: tuple[str, ...]) -> None:
    assert present(sql) == names


def test_an_absent_table_and_one_that_should_be_gone_are_named() -> None:
    promised = promises.of_sql(
        "CREATE TABLE analytics_modules (id int); CREATE TABLE app.kept (id int); DROP TABLE public.old;",
        version_table="alembic_version",
    )
    catalog = Catalog(
        fingerprint="", body={"table app.kept": "table", "table public.old": "table", "table public.x": "table"}
    )

    assert promises.broken(promised, catalog) == (
        "table analytics_modules is absent",
        "table public.old is still there",
    )


def test_a_name_without_schema_is_found_in_any_and_a_quoted_one_as_it_is() -> None:
    promised = promises.of_sql('CREATE TABLE a (id int); CREATE TABLE "B c" (id int);', version_table="alembic_version")
    catalog = Catalog(fingerprint="", body={"table app.a": "table", 'table public."B c"': "table"})

    assert promises.broken(promised, catalog) == ()
