"""SQL cut into statements: what looks like an end and is none, and what hides in comments and literals."""

from __future__ import annotations

import re

import pytest

from migrations_audit.engine.findings import alembics_own, places, splitter
from migrations_audit.engine.types import Step
from migrations_audit.states import Engine


def shown(sql: str, engine: Engine = Engine.POSTGRESQL) -> list[str]:
    """The statements as they are shown, without the digests of what stands in dollar quotes."""
    return [re.sub(r" \([0-9a-f]{8}\)", "", each.shown()) for each in splitter.split(sql, engine=engine)]


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("", []),
        (" ;; ; -- nothing\n /* ; */ ", []),
        ("SELECT 'a;b'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ("SELECT 'it''s; fine'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ("SELECT 'C:\\'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ("SELECT E'it\\'s; one'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ("SELECT U&'d\\0061t;a'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ('SELECT "a;""b"; SELECT 2', ['SELECT "a;""b"', "SELECT 2"]),
        ("SELECT $$ ; ' $x$ $$; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ("SELECT $a$ ; $$ ; $b$ ; $a$; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        ("SELECT a$b$c; SELECT $1; SELECT 2", ["SELECT a$b$c", "SELECT $ 1", "SELECT 2"]),
        ("SELECT 1 -- ; no end\n; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 /* ; /* ; */ DROP TABLE x; */; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 1 --/* \n; SELECT 2 /* ' */; SELECT 3", ["SELECT 1", "SELECT 2", "SELECT 3"]),
        ("SELECT 'never ends; DROP TABLE x", ["SELECT '…'"]),
        ("SELECT 1 /* never ends; DROP TABLE x", ["SELECT 1"]),
        ("SELECT $q$ never ends; DROP TABLE x $$", ["SELECT '…'"]),
        ("SELECT '/*'; DROP TABLE x; SELECT '*/'", ["SELECT '…'", "DROP TABLE x", "SELECT '…'"]),
        ("SELECT '--'; DROP TABLE x", ["SELECT '…'", "DROP TABLE x"]),
        ('SELECT "--"; DROP TABLE x', ['SELECT "--"', "DROP TABLE x"]),
        ("SELECT (1; DROP TABLE x", ["SELECT (1", "DROP TABLE x"]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; DROP TABLE x",
            [
                "CREATE FUNCTION f () RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END ; SELECT 2 ; END",
                "DROP TABLE x",
            ],
        ),
        (
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b); DROP TABLE x",
            ["CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a ; DELETE FROM b)", "DROP TABLE x"],
        ),
    ],
)
def test_statements_end_where_the_server_ends_them(sql: str, statements: list[str]) -> None:
    assert shown(sql) == statements


@pytest.mark.parametrize(
    ("engine", "sql", "statements"),
    [
        (Engine.MARIADB, "SELECT 'it\\'s; one'; SELECT 2", ["SELECT '…'", "SELECT 2"]),
        (Engine.MARIADB, "SELECT `a;b` # ; \n; SELECT 2", ["SELECT `a;b`", "SELECT 2"]),
        (Engine.MYSQL, "/*!50003 DROP TABLE x */; SELECT 2", ["DROP TABLE x", "SELECT 2"]),
        (Engine.MARIADB, "/*M!100100 DROP TABLE x */; SELECT 2", ["DROP TABLE x", "SELECT 2"]),
        (Engine.MYSQL, "SELECT 5--2; SELECT 2", ["SELECT 5 - - 2", "SELECT 2"]),
        (Engine.MYSQL, "SELECT 1 /* a /* b */; SELECT 2", ["SELECT 1", "SELECT 2"]),
        (
            Engine.SQLITE,
            "SELECT `a;b`; SELECT '$$'; SELECT $$; SELECT 2",
            ["SELECT `a;b`", "SELECT '…'", "SELECT $ $", "SELECT 2"],
        ),
    ],
)
def test_every_engine_has_its_own_quotes_and_comments(engine: Engine, sql: str, statements: list[str]) -> None:
    assert shown(sql, engine) == statements


def test_a_statement_knows_its_line_and_what_is_shown_holds_no_literal_and_is_short() -> None:
    (first, second) = splitter.split("\n-- a\nSELECT 1;\n\n  ALTER USER x\nPASSWORD 'hunter2', " + "y, " * 100)

    assert (first.line, second.line) == (3, 5)
    assert "hunter2" not in second.shown()
    assert len(second.shown()) == 120 + len(" (01234567)")


def test_two_statements_that_differ_in_dollar_quotes_are_not_shown_alike() -> None:
    (one, other), (literal,) = (
        splitter.split("DO $$ DROP TABLE a $$; DO $$ DROP TABLE b $$"),
        splitter.split("SELECT 'secret'"),
    )

    assert one.shown() != other.shown()
    assert literal.shown() == "SELECT '…'"


@pytest.mark.parametrize(
    ("engine", "count"), [(Engine.POSTGRESQL, 1), (Engine.MARIADB, 0), (Engine.MYSQL, 0), (Engine.SQLITE, 0)]
)
def test_a_carriage_return_ends_a_comment_of_postgresql_alone(engine: Engine, count: int) -> None:
    assert len(splitter.split("-- harmless\rDROP TABLE users", engine=engine)) == count


def test_two_long_statements_that_differ_only_at_their_end_are_not_shown_alike() -> None:
    tables = ", ".join(f"table_{number}" for number in range(50))

    (first, second, third) = splitter.split(f"DROP TABLE {tables}, a; DROP TABLE {tables}, b; DROP TABLE {tables}, a")

    assert first.shown() != second.shown()
    assert first.shown() == third.shown()


def test_text_of_any_kind_is_cut_without_an_error_and_in_linear_time() -> None:
    hostile = (
        "CREATE FUNCTION f() BEGIN ATOMIC " + "; " * 20_000 + "/*" * 5_000 + "'" * 5_001 + "$" * 999 + "\x00\u202e"
    )

    assert splitter.split(hostile)


def test_what_alembic_writes_itself_is_taken_out_and_every_line_stays() -> None:
    sql = (
        "BEGIN;\n\nCREATE TABLE alembic_version (\n version_num VARCHAR(32) NOT NULL);\n-- Running upgrade  -> r1\n"
        "CREATE TABLE t (id int); -- squawk-ignore-file\nINSERT INTO ops.alembic_version (version_num) VALUES ('r1') RETURNING "
        "alembic_version.version_num;\nUPDATE alembic_version SET version_num='r2' WHERE alembic_version.version_num = 'r1';\n"
        "DELETE FROM alembic_version WHERE alembic_version.version_num = 'r2';\nDROP TABLE alembic_version;\nCOMMIT;\n"
    )

    left = alembics_own.without(sql, version_table="alembic_version")

    assert left.split() == ["CREATE", "TABLE", "t", "(id", "int);"]
    assert left.index("CREATE") == sql.index("CREATE TABLE t")
    assert left.count("\n") == sql.count("\n")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM alembic_version",
        "UPDATE alembic_version SET version_num = 'x'",
        "UPDATE alembic_version SET version_num = 'x' WHERE version_num = 'y' OR true",
        "INSERT INTO other (version_num) VALUES ('x')",
        "TRUNCATE alembic_version",
    ],
)
def test_what_only_resembles_it_stays(statement: str) -> None:
    assert statement in alembics_own.without(f"{statement}; SELECT 1", version_table="alembic_version")


def step(revision: str) -> Step:
    return Step(1, revision, (), "upgrade", "", f"versions/{revision}.py", "0" * 64, True)


SQL = "BEGIN;\n-- Running upgrade  -> r1\n\nSELECT 1;\n-- Running upgrade r1 -> r2\n\nSELECT 2;\n"


def test_a_place_is_the_file_of_the_revision_and_a_line_of_its_part() -> None:
    place = places.of_plan(SQL, [step("r1"), step("r2")])

    assert [places.at(place, line) for line in (1, 4, 7)] == [
        "SQL of the plan, SQL line 1",
        "versions/r1.py, SQL line 2",
        "versions/r2.py, SQL line 2",
    ]


@pytest.mark.parametrize(
    "more", ["-- Running upgrade r2 -> r3\n", "/* x */ -- Running upgrade r2 -> r2\n", "-- Running upgrade r1 -> r2\n"]
)
def test_marks_that_a_script_writes_itself_lead_nobody_astray(more: str) -> None:
    assert places.at(places.of_plan(SQL + more, [step("r1"), step("r2")]), 4) == "SQL of the plan, line 4"


def test_a_mark_in_a_literal_is_none() -> None:
    sql = SQL.replace("SELECT 1", "SELECT '\n-- Running upgrade r1 -> r2\n'")

    assert places.at(places.of_plan(sql, [step("r1"), step("r2")]), 4) == "versions/r1.py, SQL line 2"


def test_the_parts_of_a_rollback_are_found_by_what_they_take_back() -> None:
    sql = "-- Running downgrade r2 -> r1\nSELECT 1;\n"

    assert places.at(places.of_plan(sql, [step("r2")]), 2) == "versions/r2.py, SQL line 1"
