"""What a statement does by its words: the copy has no rows that could tell."""

from __future__ import annotations

import pytest

from migrations_audit.engine.rehearsing import wording

CHANGES = [
    "UPDATE users SET name = 'x'",
    "update only users set name = 1",
    "INSERT INTO public.users VALUES (1)",
    'DELETE FROM "Odd Table" WHERE id = 1',
    "MERGE INTO users USING other ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE users",
    "TRUNCATE TABLE ONLY users",
    "COPY users (id) FROM STDIN",
    "-- why\nUPDATE users SET a = 1",
    "-- why\rUPDATE users SET a = 1",
    "/* why; DROP */ UPDATE users SET a = 1",
    "WITH old AS (SELECT 1) UPDATE users SET a = 1",
    "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
    "ALTER TABLE users ADD a int; UPDATE users SET a = 1",
    "SELECT 'a;b'; UPDATE users SET a = 1",
    "DO $$ BEGIN UPDATE users SET a = 1; END $$",
    "DO $do$ BEGIN EXECUTE 'UPDATE users SET a = 1'; END $do$ LANGUAGE plpgsql",
    "DO 'BEGIN PERFORM 1; END'",
    "CALL fill()",
    "INSERT INTO users VALUES (1) ON CONFLICT DO UPDATE SET a = 1",
]
NO_CHANGES = [
    "SELECT 1",
    "SELECT * FROM users FOR UPDATE",
    "SELECT * FROM users FOR NO KEY UPDATE OF users",
    "SELECT 'UPDATE users SET a = 1'",
    "SELECT e'it\\'s; UPDATE users SET a = 1'",
    "-- UPDATE users SET a = 1\nSELECT 1",
    "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES c ON UPDATE CASCADE ON DELETE SET NULL",
    "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE users SET a = 1 $$",
    "CREATE OR REPLACE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM users",
    "CREATE RULE r AS ON INSERT TO v DO INSTEAD INSERT INTO users VALUES (1)",
    "GRANT INSERT, UPDATE ON users TO app",
    "COPY users TO STDOUT",
    'ALTER TABLE "UPDATE users" ADD a int',
    'CREATE TABLE "a;UPDATE users" (id int)',
    "DO $$ BEGIN CREATE TYPE mood AS ENUM ('ok'); EXCEPTION WHEN duplicate_object THEN null; END $$",
    "",
    "   ;  ; ",
]


@pytest.mark.parametrize("text", CHANGES)
def test_a_statement_that_changes_rows_is_known_by_its_words(text: str) -> None:
    assert wording.writes_data(text)


@pytest.mark.parametrize("text", NO_CHANGES)
def test_a_statement_that_only_speaks_of_changes_makes_none(text: str) -> None:
    assert not wording.writes_data(text)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO alembic_version (version_num) VALUES ('r1')",
        "UPDATE alembic_version SET version_num='r2' WHERE alembic_version.version_num = 'r1'",
        'DELETE FROM meta."alembic_version" WHERE version_num = 1',
    ],
)
def test_what_alembic_writes_into_its_own_table_is_no_change_of_the_projects(text: str) -> None:
    assert not wording.writes_data(text, besides="alembic_version")


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE alembic_version_notes SET note = 1",
        "UPDATE app SET alembic_version = 2",
        "DELETE FROM app WHERE id IN (SELECT version_num FROM alembic_version)",
        "UPDATE alembic_version SET version_num = 1; UPDATE app SET a = 1",
    ],
)
def test_a_change_that_only_names_the_version_table_is_one(text: str) -> None:
    assert wording.writes_data(text, besides="alembic_version")


@pytest.mark.parametrize("text", ["TRUNCATE a", "/* x */ truncate a", "SELECT 1; TRUNCATE a"])
def test_a_truncate_is_known_behind_a_comment_and_another_statement(text: str) -> None:
    assert wording.empties(text)


@pytest.mark.parametrize("text", ["SELECT 'TRUNCATE a'", "ALTER TABLE truncate_me ADD a int"])
def test_the_word_alone_is_no_truncate(text: str) -> None:
    assert not wording.empties(text)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX CONCURRENTLY i ON a (b)",
        "create unique index\n concurrently if not exists i on a (b)",
        "-- x\nDROP INDEX CONCURRENTLY i",
        "REINDEX (VERBOSE) INDEX CONCURRENTLY i",
        "REINDEX TABLE CONCURRENTLY a",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
        "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
    ],
)
def test_a_statement_says_that_it_works_concurrently(text: str) -> None:
    assert wording.works_concurrently(text)


@pytest.mark.parametrize(
    "text", ["CREATE INDEX concurrently_made ON a (b)", "ALTER TYPE mood ADD VALUE 'CONCURRENTLY'", "VACUUM a"]
)
def test_a_name_or_a_literal_does_not_make_it_concurrent(text: str) -> None:
    assert not wording.works_concurrently(text)


def test_a_long_hostile_statement_is_read_in_bounded_time() -> None:
    assert not wording.writes_data("SELECT " + "/*" * 2_000 + "'" * 1_999 + '"' * 2_000)
