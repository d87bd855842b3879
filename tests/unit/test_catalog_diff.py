"""The difference between two catalogs, and how it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migrations_audit.engine import catalog
from migrations_audit.engine.types import Catalog, Change

ORDERS = {
    "schema public": "schema",
    "table public.orders": "table",
    "column public.orders.id": "integer not null",
    "column public.orders.total": "numeric(10,2)",
    "constraint public.orders.orders_pkey": "PRIMARY KEY (id)",
}
keys = st.one_of(
    st.sampled_from([*ORDERS, "index public.i", "view public.v", 'column "a.b"."c(""d".e']), st.text(max_size=30)
)
bodies = st.dictionaries(keys, st.text(max_size=20), max_size=8)


def test_the_same_catalog_has_no_difference() -> None:
    assert catalog.diff(ORDERS, dict(reversed(ORDERS.items()))) == ()


def test_added_removed_and_changed_are_told_with_their_definitions() -> None:
    after = {**ORDERS, "column public.orders.total": "numeric(12,2)", "index public.i": "CREATE INDEX …"}
    del after["constraint public.orders.orders_pkey"]

    assert catalog.diff(ORDERS, after) == (
        Change("~", "column public.orders.total", "numeric(10,2)", "numeric(12,2)"),
        Change("-", "constraint public.orders.orders_pkey", "PRIMARY KEY (id)", ""),
        Change("+", "index public.i", "", "CREATE INDEX …"),
    )


def test_a_table_is_followed_by_what_belongs_to_it() -> None:
    changes = catalog.diff(
        {},
        {
            "view public.a": "",
            "trigger public.b.t": "",
            "column public.b.x": "",
            'column "public"."a.b".y': "",
            "constraint public.b.pk": "",
            "table public.b": "",
            'table "public"."a.b"': "",
            "index public.a": "",
            "enum public.e": "",
            "schema public": "",
            "function public.f(integer, text)": "",
            "sequence public.s": "",
        },
    )

    assert [change.key for change in changes] == [
        "schema public",
        "enum public.e",
        "sequence public.s",
        'table "public"."a.b"',
        'column "public"."a.b".y',
        "table public.b",
        "column public.b.x",
        "constraint public.b.pk",
        "trigger public.b.t",
        "index public.a",
        "view public.a",
        "function public.f(integer, text)",
    ]


def test_a_difference_reads_like_a_list() -> None:
    after = {**ORDERS, "column public.orders.total": "numeric(12,2) not null", "enum public.status": "'new', 'paid'"}
    del after["column public.orders.id"]

    assert catalog.readable(catalog.diff(ORDERS, after)) == [
        "+ enum public.status: 'new', 'paid'",
        "- column public.orders.id",
        "~ column public.orders.total: numeric(10,2) → numeric(12,2) not null",
    ]


def test_a_long_definition_is_told_from_where_it_begins_to_differ() -> None:
    before, after = f"SELECT {'a, ' * 500} old FROM t", f"SELECT {'a, ' * 500} new FROM t"

    (line,) = catalog.readable([Change("~", "view public.v", before, after)])

    assert "old" in line
    assert "new" in line
    assert len(line) < 400


def test_a_hostile_name_stays_on_one_line() -> None:
    (line,) = catalog.readable([Change("+", 'table public."a\n+ table public.b\x1b[2J\u202e"', "", "x\ny")])

    assert line == '+ table public."a\\n+ table public.b\\x1b[2J\\u202e": x y'


def test_catalogs_and_their_bodies_compare_alike() -> None:
    whole = Catalog(fingerprint="f", body=ORDERS)

    assert catalog.diff(whole, {}) == catalog.diff(ORDERS, {})


@given(bodies, bodies)
def test_a_difference_applied_to_the_first_gives_the_second(before: dict[str, str], after: dict[str, str]) -> None:
    changes = catalog.diff(before, after)

    result = dict(before)
    for change in changes:
        if change.sign == "-":
            del result[change.key]
        else:
            result[change.key] = change.after
    assert result == after
    assert len(catalog.readable(changes)) == len(changes)
    assert not any("\n" in line for line in catalog.readable(changes))
