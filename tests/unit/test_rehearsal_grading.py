"""How far a revision can be taken back: every grade, each with its reason."""

from __future__ import annotations

import pytest

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing import grading
from migrations_audit.engine.rehearsing.types import Lock, Statement, Step
from migrations_audit.states import Grade

VERSION = "alembic_version"
EMPTY: dict[str, str] = {}
USERS = {"table public.users": "table", "column public.users.id": "integer not null"}


def step(
    before: dict[str, str], after: dict[str, str], *statements: str, direction: str = "upgrade", ended: bool = True
) -> Step:
    """One revision as it was played."""
    texts = [Statement(text) for text in statements]
    return Step("r1", direction, texts, ended=ended, before=before, after=after, changes=catalog.diff(before, after))


def graded(forward: Step, back: Step | None, *, problem: str = "", has_downgrade: bool = True) -> grading.Graded:
    return grading.grade(forward, back, problem=problem, has_downgrade=has_downgrade, version_table=VERSION)


def test_an_index_that_comes_and_goes_is_taken_back_exactly() -> None:
    index = {"index public.i": "CREATE INDEX i ON public.users USING btree (id)"}

    found = graded(step(USERS, USERS | index), step(USERS | index, USERS, direction="downgrade"))

    assert found == grading.Graded(Grade.EXACT)


def test_a_table_that_goes_with_the_downgrade_takes_what_was_written_since() -> None:
    found = graded(step(EMPTY, USERS), step(USERS, EMPTY, direction="downgrade"))

    assert found.grade is Grade.LOSSY
    assert found.reasons == ("The downgrade removes what was written since: table public.users.",)


def test_a_column_that_the_upgrade_drops_is_named() -> None:
    more = USERS | {"column public.users.note": "text"}

    found = graded(step(more, USERS), step(USERS, more, direction="downgrade"))

    assert found.reasons == ("The upgrade removes data that no downgrade brings back: column public.users.note.",)


def test_a_column_that_goes_while_an_index_comes_is_named() -> None:
    more, index = (
        USERS | {"column public.users.note": "text"},
        {"index public.i": "CREATE INDEX i ON public.users (id)"},
    )

    found = graded(step(more, USERS | index), step(USERS | index, more, direction="downgrade"))

    assert found.reasons == ("The upgrade removes data that no downgrade brings back: column public.users.note.",)


def test_a_converted_column_is_named_with_both_types() -> None:
    wide = USERS | {"column public.users.id": "bigint not null"}

    found = graded(step(USERS, wide), step(wide, USERS, direction="downgrade"))

    assert found.grade is Grade.LOSSY
    assert "column public.users.id (integer → bigint)" in found.reasons[0]


def test_another_default_of_a_column_converts_nothing() -> None:
    other = USERS | {"column public.users.id": "integer not null default 7"}

    assert graded(step(USERS, other), step(other, USERS, direction="downgrade")).grade is Grade.EXACT


def test_changed_rows_are_not_put_back() -> None:
    found = graded(
        step(USERS, USERS, "WITH x AS (SELECT 1) UPDATE users SET id = 2"), step(USERS, USERS, direction="downgrade")
    )

    assert found.grade is Grade.LOSSY
    assert "UPDATE users SET id = 2" in found.reasons[0]


def test_the_version_row_is_no_changed_data() -> None:
    index = {"index public.i": "x"}
    forward = step(USERS, USERS | index, "UPDATE alembic_version SET version_num='r1'")

    assert graded(forward, step(USERS | index, USERS, direction="downgrade")).grade is Grade.EXACT


def test_what_a_downgrade_leaves_behind_is_named() -> None:
    more = {"index public.i": "x", "enum public.mood": "'ok'"}
    kept = {"enum public.mood": "'ok'"}

    found = graded(step(EMPTY, more), step(more, kept, direction="downgrade"))

    assert found.grade is Grade.LOSSY
    assert found.reasons == ("After the downgrade the catalog differs from before: + enum public.mood.",)


def test_what_the_downgrade_of_a_later_revision_leaves_behind_is_told_of_that_one_alone() -> None:
    index, note = {"index public.i": "CREATE INDEX i"}, {"column public.users.note": "text"}
    # Up: the first makes the index, the second the column. Down: the column stays, the index goes.
    first = graded(step(USERS, USERS | index), step(USERS | index | note, USERS | note, direction="downgrade"))
    second = graded(
        step(USERS | index, USERS | index | note, "ALTER TABLE users ADD note text"),
        step(USERS | index | note, USERS | index | note, direction="downgrade"),
    )

    assert first == grading.Graded(Grade.EXACT)
    assert second.grade is Grade.IMPOSSIBLE


def test_what_a_downgrade_leaves_behind_itself_is_told_beside_what_a_later_one_left() -> None:
    made = {"index public.i": "CREATE INDEX i", "enum public.mood": "'ok'"}
    note, mood = {"column public.users.note": "text"}, {"enum public.mood": "'ok'"}

    found = graded(step(USERS, USERS | made), step(USERS | made | note, USERS | mood | note, direction="downgrade"))

    assert found.reasons == ("After the downgrade the catalog differs from before: + enum public.mood.",)


def test_a_downgrade_that_raises_is_not_possible() -> None:
    found = graded(step(EMPTY, USERS), None, problem="one way")

    assert found == grading.Graded(Grade.IMPOSSIBLE, ("Its downgrade failed on the copy: one way",))


def test_an_empty_downgrade_of_a_change_is_not_possible() -> None:
    found = graded(step(EMPTY, USERS), step(USERS, USERS, direction="downgrade"), has_downgrade=False)

    assert (found.grade, found.reasons) == (
        Grade.IMPOSSIBLE,
        ("Its downgrade is absent or empty, so that nothing is taken back.",),
    )


def test_an_empty_downgrade_of_changed_rows_is_not_possible() -> None:
    forward = step(USERS, USERS, "INSERT INTO users VALUES (1)")

    assert graded(forward, step(USERS, USERS), has_downgrade=False).grade is Grade.IMPOSSIBLE


def test_an_empty_revision_is_taken_back_by_an_empty_downgrade() -> None:
    assert graded(step(USERS, USERS), step(USERS, USERS), has_downgrade=False).grade is Grade.EXACT


def test_a_downgrade_that_changes_nothing_is_not_possible() -> None:
    found = graded(step(EMPTY, USERS), step(USERS, USERS, direction="downgrade"))

    assert found.reasons == ("Its downgrade ran and changed nothing: what the upgrade made stays.",)


@pytest.mark.parametrize("back", [None, step(USERS, USERS, ended=False)])
def test_what_was_not_played_is_not_tested(back: Step | None) -> None:
    assert graded(step(EMPTY, USERS), back).grade is Grade.UNTESTED


def test_a_rollback_is_told_in_its_own_words() -> None:
    found = grading.lost(step(USERS, EMPTY, direction="downgrade"), None, VERSION)

    assert found == ["The downgrade removes data that no upgrade brings back: table public.users."]


def test_a_long_list_is_cut_and_counted() -> None:
    many = {f"table public.t{number:02}": "table" for number in range(20)}

    (reason,) = graded(step(EMPTY, many), step(many, EMPTY, direction="downgrade")).reasons

    assert reason.endswith("table public.t07; and 12 more.")


def test_the_worst_grade_is_that_of_the_plan() -> None:
    assert grading.worst([Grade.EXACT, Grade.LOSSY]) is Grade.LOSSY
    assert grading.worst([Grade.UNTESTED, Grade.LOSSY]) is Grade.UNTESTED
    assert grading.worst([Grade.IMPOSSIBLE, Grade.UNTESTED]) is Grade.IMPOSSIBLE
    assert grading.worst([]) is None


def test_the_worse_of_two_keeps_the_reasons_of_both() -> None:
    found = grading.worse(grading.Graded(Grade.IMPOSSIBLE, ("a",)), grading.Graded(Grade.LOSSY, ("b",)))

    assert found == grading.Graded(Grade.IMPOSSIBLE, ("a", "b"))


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("table public.alembic_version", VERSION),
        ("table meta.alembic_version", VERSION),
        ("column public.alembic_version.version_num", VERSION),
        ("constraint public.alembic_version.alembic_version_pkc", VERSION),
        ("index public.alembic_version_pkc", VERSION),
        ('table public."Alembic Version"', "Alembic Version"),
        ('column "odd.schema"."a""b".version_num', 'a"b'),
        ('table public."übersicht.v1"', "übersicht.v1"),
    ],
)
def test_the_version_table_and_its_parts_are_known(key: str, table: str) -> None:
    assert grading.is_of_table(key, table)


@pytest.mark.parametrize(
    "key",
    [
        "table public.alembic_versions",
        "table alembic_version.users",
        "column alembic_version.users.id",
        "column public.users.alembic_version",
        "constraint public.users.alembic_version",
        "constraint public.users.alembic_version_pkc",
        'table public."x.alembic_version"',
        'table public."alembic_version.x"',
        'table public."""alembic_version"',
        "index public.alembic_version",
        "view public.alembic_version",
        "function public.alembic_version()",
        "table public",
        "",
    ],
)
def test_a_name_that_resembles_the_version_tables_is_the_projects_own(key: str) -> None:
    assert not grading.is_of_table(key, VERSION)


def test_the_name_of_the_version_table_is_no_pattern() -> None:
    assert not grading.is_of_table("table public.versions", "versi.ns")
    assert not grading.is_of_table("table public.versions", "(versions|.*)")


def test_hostile_names_are_graded_as_names() -> None:
    hostile = {'table public."x; DROP TABLE users --"': "table", 'column public."a.b"."c""d"': "text"}

    found = graded(step(EMPTY, hostile), step(hostile, EMPTY, direction="downgrade"))

    assert 'column public."a.b"."c""d"' in found.reasons[0]


def test_columns_of_a_table_that_goes_are_told_by_their_table() -> None:
    wide = {'table public."a.b"': "table", 'column public."a.b".id': "integer", 'column public."a.b".c': "text"}

    (reason,) = graded(step(EMPTY, wide), step(wide, EMPTY, direction="downgrade")).reasons

    assert reason == 'The downgrade removes what was written since: table public."a.b".'


USER_NOTE = {"column public.users.note": "text"}


@pytest.mark.parametrize(
    "statement",
    [
        Statement("SELECT purge()", locks=[Lock("RowExclusiveLock", "public.users")]),
        Statement("INSERT INTO log SELECT 1", cut=900),
        Statement("SET x = 1", cut=900),
        Statement("DO $$ BEGIN EXECUTE format('DELETE FROM %I', 'users'); END $$"),
    ],
    ids=lambda each: each.text[:12],
)
@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
def test_what_changes_rows_without_saying_so_is_no_exact_way(statement: Statement, direction: str) -> None:
    forward, back = step(USERS, USERS | USER_NOTE), step(USERS | USER_NOTE, USERS, direction="downgrade")
    (forward if direction == "upgrade" else back).statements.append(statement)

    reasons = graded(forward, back).reasons

    assert any(reason.startswith(f"The {direction} changes data") for reason in reasons)


def test_alembics_own_rows_are_no_change_of_data() -> None:
    index = {"index public.i": "CREATE INDEX i ON public.users USING btree (id)"}
    forward = step(USERS, USERS | index, "UPDATE alembic_version SET version_num='r1'")
    forward.statements[0].locks.append(Lock("RowExclusiveLock", "public.alembic_version"))

    assert graded(forward, step(USERS | index, USERS, direction="downgrade")).grade is Grade.EXACT


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (("ALTER TABLE users DROP COLUMN note, ADD COLUMN note text",), "column public.users.note"),
        (('ALTER TABLE public.users DROP "note"', "ALTER TABLE users ADD note text"), "column public.users.note"),
        (("DROP TABLE IF EXISTS a, public.users CASCADE", "CREATE TABLE users (id int)"), "table public.users"),
    ],
)
def test_what_is_dropped_and_made_anew_loses_its_data(statements: tuple[str, ...], named: str) -> None:
    both = USERS | USER_NOTE

    found = graded(step(both, both, *statements), step(both, both, direction="downgrade"))

    assert found.grade is Grade.LOSSY
    assert found.reasons[0] == f"The upgrade drops and makes anew, and what was in it goes: {named}."


def test_a_table_that_only_helps_within_the_revision_loses_nothing() -> None:
    after = USERS | USER_NOTE
    forward = step(USERS, after, "CREATE TABLE help (id int)", "DROP TABLE help")

    assert "makes anew" not in " ".join(graded(forward, step(after, USERS, direction="downgrade")).reasons)


@pytest.mark.parametrize(
    ("before", "after", "there", "back"),
    [
        (USERS | USER_NOTE, USERS | {"column public.users.memo": "text"}, "note TO memo", "memo TO note"),
        (
            USERS | USER_NOTE,
            USERS | {"column public.users.memo": "text"},
            "COLUMN note TO memo",
            'COLUMN "memo" TO note',
        ),
    ],
)
def test_another_name_takes_no_data_away(before: dict[str, str], after: dict[str, str], there: str, back: str) -> None:
    forward = step(before, after, f"ALTER TABLE users RENAME {there}")
    backward = step(after, before, f"ALTER TABLE public.users RENAME {back}", direction="downgrade")

    assert graded(forward, backward) == grading.Graded(Grade.EXACT)


def removed(after: dict[str, str], *statements: str) -> list[str]:
    return [each.key for each in grading.removed(step(USERS, after, *statements))]


def test_what_got_another_name_and_then_went_is_gone() -> None:
    assert removed({}, "ALTER TABLE users RENAME TO people", "DROP TABLE people") == ["table public.users"]


def test_a_name_that_was_changed_twice_is_followed_and_a_column_that_went_meanwhile_is_gone() -> None:
    moved = {key.replace("public.users", "public.folk"): value for key, value in USERS.items()}
    renames = ("ALTER TABLE users RENAME TO people", "DO $$ BEGIN ALTER TABLE people RENAME TO folk; END $$")
    column = next(key for key in USERS if key.startswith("column "))
    without = {key: value for key, value in moved.items() if key != column.replace("public.users", "public.folk")}

    assert removed(moved, *renames) == []
    assert removed(without, *renames) == [column]


def test_a_table_of_the_same_name_elsewhere_is_another_one_where_nothing_moved_it() -> None:
    elsewhere = {key.replace("public.users", "app.users"): value for key, value in USERS.items()}

    assert removed(elsewhere, "CREATE TABLE app.users (id int)", "DROP TABLE users") == ["table public.users"]


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ("ALTER TABLE users RENAME TO people", "ALTER TABLE people RENAME TO users"),
        ("ALTER TABLE users SET SCHEMA app", "ALTER TABLE app.users SET SCHEMA public"),
    ],
)
def test_another_name_or_schema_of_a_table_takes_no_data_away(there: str, back: str) -> None:
    name = "public.people" if "people" in there else "app.users"
    moved = {key.replace("public.users", name): value for key, value in USERS.items()}

    found = graded(step(USERS, moved, there), step(moved, USERS, back, direction="downgrade"))

    assert found == grading.Graded(Grade.EXACT)


def test_a_value_that_an_expression_makes_is_converted_though_the_type_stays() -> None:
    forward = step(USERS, USERS | USER_NOTE, "ALTER TABLE users ALTER name TYPE text USING md5(name)")
    forward.statements[0].rewrites.append("public.users")

    reasons = graded(forward, step(USERS | USER_NOTE, USERS, direction="downgrade")).reasons

    assert any("converts values" in reason and "USING md5(name)" in reason for reason in reasons)


def test_a_grant_without_a_way_back_is_not_nothing() -> None:
    forward = step(USERS, USERS, "GRANT SELECT ON users TO app")

    found = graded(forward, step(USERS, USERS, direction="downgrade"), has_downgrade=False)

    assert found.grade is Grade.IMPOSSIBLE


@pytest.mark.parametrize(
    ("before", "has_downgrade", "grade"),
    [
        (USERS, True, Grade.UNTESTED),
        (USERS, False, Grade.IMPOSSIBLE),
        (USERS | USER_NOTE, True, Grade.LOSSY),
        (USERS | {"index public.i": "CREATE INDEX i"}, True, Grade.EXACT),
    ],
)
def test_a_rollback_is_graded_by_what_it_takes_away_and_back(
    before: dict[str, str], has_downgrade: bool, grade: Grade
) -> None:
    down = step(before, USERS, "SELECT 1", direction="downgrade")

    assert grading.of_rollback(down, has_downgrade=has_downgrade, version_table=VERSION).grade is grade
