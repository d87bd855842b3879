"""Which revisions a target records, and when the portal refuses to say."""

from __future__ import annotations

import pytest

from migrations_audit.engine import target
from tests.engine.conftest import MakeRole
from tests.engine.database import VERSION_TABLE, Database


def unreadable(database: Database, **settings: str) -> str:
    with pytest.raises(target.UnreadableVersionTable) as caught:
        database.read(**settings)
    assert caught.value.code == "unreadable_version_table"
    return caught.value.message


def test_a_database_without_version_table_records_nothing(database: Database) -> None:
    reading = database.read()

    assert reading.revisions is None
    assert reading.version_tables == ()


def test_an_empty_version_table_is_something_else(database: Database) -> None:
    database.run(VERSION_TABLE)

    assert database.read().revisions == ()


def test_every_row_is_read_in_order(database: Database) -> None:
    database.run(VERSION_TABLE, "INSERT INTO alembic_version VALUES ('bbb2'), ('aaa1')")

    reading = database.read()

    assert reading.revisions == ("aaa1", "bbb2")
    assert reading.version_tables == ("public.alembic_version",)


@pytest.mark.parametrize(
    "rows",
    ["(NULL)", "('aaa1'), (NULL)", "('')", "(' aaa1')", "(E'aaa\\n1')", "('aaa1'), ('aaa1')", f"('{'a' * 256}')"],
)
def test_rows_that_alembic_never_writes_are_an_error_and_not_a_state(database: Database, rows: str) -> None:
    database.run("CREATE TABLE alembic_version (version_num text)", f"INSERT INTO alembic_version VALUES {rows}")

    assert unreadable(database).startswith("public.alembic_version holds")


def test_a_table_that_only_has_the_name_is_an_error(database: Database) -> None:
    database.run("CREATE TABLE alembic_version (version_num integer)")
    assert "no column version_num" in unreadable(database)

    database.run("DROP TABLE alembic_version", "CREATE TABLE alembic_version (name text)")
    assert "no column version_num" in unreadable(database)


def test_a_table_with_more_rows_than_any_project_has_heads_is_an_error(database: Database) -> None:
    database.run(VERSION_TABLE, "INSERT INTO alembic_version SELECT generate_series(1, 1001)")

    assert "more than 1000 rows" in unreadable(database)


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_with_the_tables_name_proves_nothing(database: Database, kind: str) -> None:
    database.run(f"CREATE {kind} alembic_version AS SELECT 'aaa1'::text AS version_num")

    assert f"a {kind.lower()}" in unreadable(database)


def test_a_configured_table_and_schema_are_read_whatever_they_are_called(database: Database) -> None:
    schema, table = 'Sch"e\nma', "'; DROP TABLE x; -- é"
    database.run(
        'CREATE SCHEMA "Sch""e\nma"',
        f'CREATE TABLE "Sch""e\nma"."{table}" (version_num varchar(32))',
        f'INSERT INTO "Sch""e\nma"."{table}" VALUES (\'aaa1\')',
        VERSION_TABLE,
    )

    assert database.read(version_schema=schema, version_table=table).revisions == ("aaa1",)
    assert database.read().revisions == ()


def test_a_configured_schema_is_the_only_one_that_counts(database: Database) -> None:
    database.run(VERSION_TABLE, "INSERT INTO alembic_version VALUES ('aaa1')", "CREATE SCHEMA app")

    reading = database.read(version_schema="app")

    assert reading.revisions is None
    assert reading.version_tables == ("public.alembic_version",)


def test_the_search_path_of_the_role_decides_where_alembic_would_look(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(
        VERSION_TABLE,
        "INSERT INTO alembic_version VALUES ('in_public')",
        "CREATE SCHEMA app",
        "CREATE TABLE app.alembic_version (version_num varchar(32))",
        "INSERT INTO app.alembic_version VALUES ('in_app')",
        f"GRANT USAGE ON SCHEMA app TO {role.user}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA app, public TO {role.user}",
        f"ALTER ROLE {role.user} SET search_path = 'no such schema', app, public",
    )

    assert database.read().revisions == ("in_public",)
    assert database.read(database.as_role(role)).revisions == ("in_app",)


def test_a_version_table_that_the_search_path_hides_is_told_and_never_read_as_absent(database: Database) -> None:
    database.run("CREATE SCHEMA app", "CREATE TABLE app.alembic_version (version_num varchar(32))")

    message = unreadable(database)

    assert "app.alembic_version" in message
    assert "(public)" in message
    assert database.read(version_schema="public").revisions is None
    assert database.read(version_schema="app").revisions == ()


def test_every_version_table_is_found_in_the_survey(database: Database) -> None:
    database.run(
        VERSION_TABLE,
        "CREATE SCHEMA app",
        "CREATE TABLE app.alembic_version_auth (version_num varchar(32))",
        "CREATE TABLE app.my_revisions (version_num varchar(32))",
        "CREATE VIEW app.alembic_version_view AS SELECT 1",
    )

    assert database.read().version_tables == ("app.alembic_version_auth", "public.alembic_version")
    assert "app.my_revisions" in database.read(version_table="my_revisions", version_schema="app").version_tables


def test_a_table_that_may_not_be_read_is_a_matter_of_permission(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(VERSION_TABLE)

    with pytest.raises(target.CannotRead, match="alembic_version") as caught:
        database.read(database.as_role(role))
    assert caught.value.code == "permission"


def test_row_security_that_would_hide_rows_is_an_error(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(
        VERSION_TABLE,
        "INSERT INTO alembic_version VALUES ('aaa1')",
        "ALTER TABLE alembic_version ENABLE ROW LEVEL SECURITY",
        f"GRANT SELECT ON alembic_version TO {role.user}",
    )

    with pytest.raises(target.CannotRead, match="row-level security") as caught:
        database.read(database.as_role(role))
    assert caught.value.code == "permission"


def test_objects_that_shadow_postgresqls_own_do_not_fool_the_reader(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(
        VERSION_TABLE,
        "INSERT INTO alembic_version VALUES ('true1')",
        "CREATE SCHEMA evil",
        f"GRANT USAGE ON SCHEMA evil TO {role.user}",
        f"GRANT SELECT ON alembic_version TO {role.user}",
        "CREATE FUNCTION evil.current_database() RETURNS name LANGUAGE sql AS $$ SELECT 'forged'::name $$",
        "CREATE FUNCTION evil.pg_backend_pid() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$",
        "CREATE FUNCTION evil.format(text, name, name) RETURNS text LANGUAGE sql AS $$ SELECT 'forged' $$",
        "CREATE FUNCTION evil.never(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$",
        "CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.never)",
        "CREATE VIEW evil.pg_class AS SELECT * FROM pg_catalog.pg_class WHERE false",
        "CREATE VIEW evil.pg_prepared_xacts AS SELECT 'forged'::text AS gid, pg_catalog.current_database() AS database",
        f"ALTER ROLE {role.user} SET search_path = evil, pg_catalog, public",
    )

    seen, honest = database.read(database.as_role(role)), database.read()

    assert seen.revisions == ("true1",)
    assert seen.identity.database == database.url.database
    assert not seen.pooled
    assert seen.prepared_transactions == ()
    assert seen.catalog == honest.catalog


def test_a_shadowing_version_table_is_what_alembic_itself_would_use(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(
        VERSION_TABLE,
        "INSERT INTO alembic_version VALUES ('true1')",
        "CREATE SCHEMA evil",
        f"GRANT USAGE ON SCHEMA evil TO {role.user}",
        "CREATE VIEW evil.alembic_version AS SELECT 'forged'::text AS version_num",
        f"ALTER ROLE {role.user} SET search_path = evil, public",
    )

    with pytest.raises(target.UnreadableVersionTable, match=r"evil\.alembic_version is a view"):
        database.read(database.as_role(role))
