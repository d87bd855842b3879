"""What a rehearsal showed, held against a database."""

from __future__ import annotations

import pytest

from migrations_audit.engine import catalog, expectations

VERSION = "alembic_version"
BEFORE = {"table public.users": "table", "column public.users.id": "integer"}
AFTER = BEFORE | {"column public.users.mail": "text", "index public.i": "CREATE INDEX i"}


def delta(before: dict[str, str], after: dict[str, str]) -> list[dict[str, str]]:
    return [vars(change) for change in catalog.diff(before, after)]


def differing(after: dict[str, str], *, by_definition: bool = True) -> tuple[str, ...]:
    return expectations.differences(
        delta(BEFORE, AFTER), BEFORE, after, version_table=VERSION, by_definition=by_definition
    )


def test_what_came_true_differs_in_nothing() -> None:
    assert differing(AFTER) == ()


def test_what_did_not_come_is_absent() -> None:
    found = differing({key: value for key, value in AFTER.items() if key != "index public.i"})

    assert found == ("index public.i is absent",)


def test_another_definition_is_told_with_both() -> None:
    found = differing(AFTER | {"column public.users.mail": "character varying(9)"})

    assert found == ("column public.users.mail differs: expected text, found character varying(9)",)


def test_between_servers_of_different_versions_presence_is_enough() -> None:
    assert differing(AFTER | {"column public.users.mail": "varchar"}, by_definition=False) == ()


def test_a_change_that_did_not_happen_is_told_also_where_definitions_are_not_compared() -> None:
    wide = BEFORE | {"column public.users.id": "bigint"}

    def found(after: dict[str, str], *, by_definition: bool) -> tuple[str, ...]:
        return expectations.differences(
            delta(BEFORE, wide), BEFORE, after, version_table=VERSION, by_definition=by_definition
        )

    assert found(BEFORE, by_definition=False) == ("column public.users.id is unchanged",)
    assert found(BEFORE | {"column public.users.id": "int8"}, by_definition=False) == ()
    assert found(BEFORE, by_definition=True) == ("column public.users.id differs: expected bigint, found integer",)


def test_what_came_besides_is_told() -> None:
    found = differing(AFTER | {"table public.smuggled": "table", "column public.users.id": "bigint"})

    assert sorted(found) == ["+ table public.smuggled was not expected", "~ column public.users.id was not expected"]


def test_the_version_table_may_come_besides() -> None:
    assert differing(AFTER | {"table public.alembic_version": "table"}) == ()


def test_what_should_have_gone_is_still_there() -> None:
    found = expectations.differences(delta(AFTER, BEFORE), AFTER, AFTER, version_table=VERSION, by_definition=True)

    assert set(found) == {"column public.users.mail is still there", "index public.i is still there"}


def test_an_extension_of_another_version_is_the_same_extension() -> None:
    there = {"extension hstore": "version 1.8, schema public"}

    found = expectations.differences(
        delta({}, {"extension hstore": "version 1.7, schema public"}),
        {},
        there,
        version_table=VERSION,
        by_definition=True,
    )

    assert found == ()


def test_odd_names_are_made_fit_to_store_and_to_show() -> None:
    (found,) = differing(AFTER | {'table public."a\u202eb\nc"': "table"})

    assert found == '+ table public."a\\u202eb\\nc" was not expected'


def test_a_long_definition_is_cut() -> None:
    found = differing(AFTER | {"index public.i": "x" * 10_000})

    assert len(found[0]) < 300


def made(*steps: tuple[str, dict[str, str], dict[str, str]]) -> dict[str, str]:
    return expectations.promised((revision, delta(before, after)) for revision, before, after in steps)


def test_a_table_and_its_columns_are_promised_by_the_revision_that_made_them() -> None:
    assert made(("r1", {}, BEFORE)) == dict.fromkeys(BEFORE, "r1")


def test_indexes_and_functions_promise_nothing() -> None:
    assert made(("r1", {}, {"index public.i": "x", "function public.f()": "x"})) == {}


def test_what_a_later_revision_drops_is_promised_no_more() -> None:
    assert made(("r1", {}, BEFORE), ("r2", BEFORE, {})) == {}


def test_a_renamed_table_is_promised_under_its_new_name() -> None:
    renamed = {key.replace("users", "people"): value for key, value in BEFORE.items()}

    assert made(("r1", {}, BEFORE), ("r2", BEFORE, renamed)) == dict.fromkeys(renamed, "r2")


def test_a_table_that_was_dropped_and_made_again_is_promised_by_the_last() -> None:
    assert made(("r1", {}, BEFORE), ("r2", BEFORE, {}), ("r3", {}, BEFORE)) == dict.fromkeys(BEFORE, "r3")


def test_what_was_only_changed_is_promised_by_who_made_it() -> None:
    wide = BEFORE | {"column public.users.id": "bigint"}

    assert made(("r1", {}, BEFORE), ("r2", BEFORE, wide))["column public.users.id"] == "r1"


def test_a_column_of_an_absent_table_is_told_with_its_table() -> None:
    assert expectations.absent(dict.fromkeys(BEFORE, "r1"), {}) == {"r1": ["table public.users"]}


def test_a_column_that_is_absent_from_its_table_is_told() -> None:
    found = expectations.absent(dict.fromkeys(BEFORE, "r1"), {"table public.users": "table"})

    assert found == {"r1": ["column public.users.id"]}


@pytest.mark.parametrize("name", ['public."a.b"', 'public."ünï"', '"odd schema"."a""b"'])
def test_odd_names_are_found_by_their_table(name: str) -> None:
    promised = {f"table {name}": "r1", f'column {name}."c.d"': "r1"}

    assert expectations.absent(promised, {}) == {"r1": [f"table {name}"]}
    assert expectations.absent(promised, {f"table {name}": "table"}) == {"r1": [f'column {name}."c.d"']}


def test_nothing_is_absent_from_a_database_that_has_it_all() -> None:
    assert expectations.absent(dict.fromkeys(BEFORE, "r1"), AFTER) == {}


def test_what_was_rehearsed_on_another_target_may_be_in_another_schema() -> None:
    tenant = {key.replace("public", "tenant"): value for key, value in BEFORE.items()}
    made_elsewhere = dict.fromkeys(BEFORE, "r1")

    assert expectations.absent(made_elsewhere, tenant, in_any_schema={"r1"}) == {}
    assert expectations.absent(made_elsewhere, tenant) == {"r1": ["table public.users"]}


def test_what_is_in_no_schema_is_absent_also_by_another_targets_rehearsal() -> None:
    made_elsewhere = dict.fromkeys(BEFORE, "r1")

    assert expectations.absent(made_elsewhere, {}, in_any_schema={"r1"}) == {"r1": ["table public.users"]}
    assert expectations.absent(made_elsewhere, {"table tenant.users": "table"}, in_any_schema={"r1"}) == {
        "r1": ["column public.users.id"]
    }
    assert expectations.absent(made_elsewhere, {"view tenant.users": "SELECT 1"}, in_any_schema={"r1"}) == {
        "r1": ["table public.users"]
    }


def test_a_revision_leaves_no_trace_when_all_that_it_changed_last_is_as_before() -> None:
    first = [{"sign": "+", "key": "table public.a", "before": "", "after": "table"}]
    second = [
        {"sign": "~", "key": "column public.a.n", "before": "integer", "after": "bigint"},
        {"sign": "-", "key": "column public.a.old", "before": "text", "after": ""},
    ]
    deltas = [("r1", first), ("r2", second)]
    body = {"table public.a": "table", "column public.a.n": "integer", "column public.a.old": "text"}

    assert expectations.without_trace(deltas, body) == ["r2"]
    assert expectations.without_trace(deltas, body | {"column public.a.n": "bigint"}) == []
    assert expectations.without_trace(deltas, {}) == ["r1"]
    assert expectations.without_trace([("r3", [])], body) == []


def behind(found: dict[str, str], *keys: str) -> tuple[str, ...]:
    return expectations.not_as_before(BEFORE, keys, found, version_table=VERSION)


def test_what_was_touched_and_is_as_before_is_not_told() -> None:
    assert behind(BEFORE, *AFTER) == ()


def test_what_was_touched_must_be_gone_back_or_as_it_was() -> None:
    found = {"column public.users.id": "bigint", "index public.i": "CREATE INDEX i"}

    assert behind(found, *AFTER, *AFTER) == (
        "table public.users is absent",
        "column public.users.id differs: expected integer, found bigint",
        "index public.i is still there",
    )


def test_what_nobody_touched_may_be_as_it_likes_and_so_may_the_version_table() -> None:
    found = {**BEFORE, "table public.by_hand": "table", f"table public.{VERSION}": "table"}

    assert behind(found, "index public.i", f"table public.{VERSION}") == ()
