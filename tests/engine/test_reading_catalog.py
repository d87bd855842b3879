"""What the portal sees of a target's schema."""

from __future__ import annotations

import psycopg
import pytest

from migrations_audit.engine import catalog, urls
from migrations_audit.engine.session import CannotRead
from tests.conftest import MakeTargetDatabase
from tests.engine import proxy
from tests.engine.conftest import MakeRole
from tests.engine.database import VERSION_TABLE, Database
from tests.engine.proxy import Proxy

SHOP = (
    "CREATE SCHEMA app",
    "CREATE TYPE app.status AS ENUM ('new', 'paid', 'sent')",
    "CREATE DOMAIN app.price AS numeric(10,2) DEFAULT 0 NOT NULL CONSTRAINT positive CHECK (VALUE >= 0)",
    "CREATE TYPE app.address AS (street text, number integer)",
    "CREATE TABLE app.customer (id serial PRIMARY KEY, name text COLLATE \"C\" NOT NULL DEFAULT 'nobody')",
    """CREATE TABLE app.orders (
           id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
           customer_id integer NOT NULL REFERENCES app.customer ON DELETE CASCADE DEFERRABLE,
           status app.status NOT NULL DEFAULT 'new',
           total app.price,
           twice numeric GENERATED ALWAYS AS (total * 2) STORED,
           placed_at timestamptz DEFAULT '2026-01-01 00:00:00+00')""",
    "CREATE INDEX orders_open ON app.orders (customer_id) WHERE status <> 'sent'",
    "CREATE UNIQUE INDEX orders_total ON app.orders (total DESC NULLS LAST)",
    "CREATE VIEW app.open_orders AS SELECT id FROM app.orders WHERE status = 'new'",
    "CREATE MATERIALIZED VIEW app.totals AS SELECT sum(total) AS total FROM app.orders",
    """CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.placed_at := now(); RETURN NEW; END $$""",
    "CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch()",
    "ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON app.orders FOR SELECT TO public USING (customer_id = 1)",
    "CREATE TABLE app.events (at date NOT NULL, body text) PARTITION BY RANGE (at)",
    "CREATE TABLE app.events_2026 PARTITION OF app.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE SEQUENCE app.ticket INCREMENT 5 CYCLE MAXVALUE 1000",
    "CREATE PROCEDURE app.tidy(older integer, \"Name\" text) LANGUAGE sql AS 'SELECT 1'",
    "CREATE AGGREGATE app.total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0')",
    "CREATE RULE quiet AS ON DELETE TO app.customer DO INSTEAD NOTHING",
    "CREATE FUNCTION app.seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "CREATE SCHEMA opsportal",
)


@pytest.fixture
def shop(database: Database) -> Database:
    database.run(*SHOP)
    return database


def changes(database: Database, *statements: str) -> list[str]:
    before = database.read().catalog
    database.run(*statements)
    after = database.read().catalog
    assert (before.fingerprint == after.fingerprint) == (before.body == after.body)
    return catalog.readable(catalog.diff(before, after))


def test_an_empty_database_holds_its_schema_and_language(database: Database) -> None:
    assert set(database.read().catalog.body) == {"schema public", "extension plpgsql"}


def test_every_kind_of_object_is_told_with_its_definition(shop: Database) -> None:
    body = shop.read().catalog.body

    expected = {
        "schema app": "schema",
        "enum app.status": "'new', 'paid', 'sent'",
        "domain app.price": "numeric(10,2) not null default 0 constraint positive CHECK ((VALUE >= (0)::numeric))",
        "type app.address": "(street text, number integer)",
        "table app.orders": "table",
        "table app.events": "table, partitioned by RANGE (at)",
        "table app.events_2026": "table, child of app.events, FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "column app.customer.id": "integer not null default nextval('app.customer_id_seq'::regclass)",
        "column app.customer.name": "text collate \"C\" not null default 'nobody'::text",
        "column app.orders.id": "bigint not null generated always as identity",
        "column app.orders.status": "app.status not null default 'new'::app.status",
        "column app.orders.twice": "numeric generated always as (((total)::numeric * (2)::numeric)) stored",
        "column app.orders.placed_at": "timestamp with time zone default '2026-01-01 00:00:00+00'::timestamp with time zone",
        "constraint app.orders.orders_pkey": "PRIMARY KEY (id)",
        "constraint app.orders.orders_customer_id_fkey": (
            "FOREIGN KEY (customer_id) REFERENCES app.customer(id) ON DELETE CASCADE DEFERRABLE"
        ),
        "index app.orders_open": (
            "CREATE INDEX orders_open ON app.orders USING btree (customer_id) WHERE (status <> 'sent'::app.status)"
        ),
        "index app.orders_total": "CREATE UNIQUE INDEX orders_total ON app.orders USING btree (total DESC NULLS LAST)",
        "row security app.orders": "enabled",
        "policy app.orders.own": "permissive for select to public using ((customer_id = 1))",
        "trigger app.orders.touch": (
            "CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch()"
        ),
        "rule app.customer.quiet": "CREATE RULE quiet AS\n    ON DELETE TO app.customer DO INSTEAD NOTHING;",
        "sequence app.ticket": "bigint start 1 increment 5 from 1 to 1000 cache 1 cycle",
        "sequence app.customer_id_seq": (
            "integer start 1 increment 1 from 1 to 2147483647 cache 1 owned by app.customer.id"
        ),
    }
    assert {key: body[key] for key in expected} == expected
    assert "FROM app.orders" in body["view app.open_orders"]
    assert "sum(" in body["materialized view app.totals"]
    assert body["function app.touch()"].startswith("returns trigger, language plpgsql, sha256 ")
    assert "procedure app.tidy(integer, text)" in body
    assert "aggregate app.total(integer)" in body


def test_one_added_table_is_a_readable_list(shop: Database) -> None:
    assert changes(shop, "CREATE TABLE analytics_modules (id integer PRIMARY KEY, name text)") == [
        "+ table public.analytics_modules: table",
        "+ column public.analytics_modules.id: integer not null",
        "+ column public.analytics_modules.name: text",
        "+ constraint public.analytics_modules.analytics_modules_pkey: PRIMARY KEY (id)",
    ]


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("ALTER TYPE app.status ADD VALUE 'void' BEFORE 'paid'", "~ enum app.status: "),
        ("ALTER TABLE app.customer ALTER name SET DEFAULT 'x'", "~ column app.customer.name: "),
        ("ALTER TABLE app.customer ALTER name DROP NOT NULL", "~ column app.customer.name: "),
        ("ALTER TABLE app.customer ALTER name TYPE varchar(9)", "~ column app.customer.name: "),
        ("ALTER TABLE app.orders SET UNLOGGED", "~ table app.orders: "),
        ("ALTER TABLE app.customer SET (fillfactor = 70)", "~ table app.customer: "),
        ("ALTER TABLE app.orders DISABLE ROW LEVEL SECURITY", "- row security app.orders"),
        ("ALTER TABLE app.orders FORCE ROW LEVEL SECURITY", "~ row security app.orders: "),
        ("ALTER POLICY own ON app.orders USING (true)", "~ policy app.orders.own: "),
        ("ALTER TABLE app.orders DISABLE TRIGGER touch", "~ trigger app.orders.touch: "),
        ("ALTER DOMAIN app.price DROP CONSTRAINT positive", "~ domain app.price: "),
        ("ALTER SEQUENCE app.ticket INCREMENT 6", "~ sequence app.ticket: "),
        ("CREATE OR REPLACE VIEW app.open_orders AS SELECT id FROM app.orders", "~ view app.open_orders: "),
        ("ALTER VIEW app.open_orders SET (security_barrier)", "~ view app.open_orders: "),
        ("ALTER FUNCTION app.touch() SECURITY DEFINER", "~ function app.touch(): "),
        (
            "CREATE OR REPLACE PROCEDURE app.tidy(older integer, \"Name\" text) LANGUAGE sql AS ''",
            "~ procedure app.tidy",
        ),
        ("ALTER TABLE app.events DETACH PARTITION app.events_2026", "~ table app.events_2026: "),
        ("ALTER TABLE app.orders ADD CHECK (id > 0) NOT VALID", "+ constraint app.orders.orders_id_check: "),
        (
            "ALTER TABLE app.orders ALTER CONSTRAINT orders_customer_id_fkey NOT DEFERRABLE",
            "~ constraint app.orders.ord",
        ),
        ("ALTER TABLE app.customer DISABLE RULE quiet", "~ rule app.customer.quiet: "),
        ("ALTER TABLE app.orders REPLICA IDENTITY FULL", "~ table app.orders: table → table, replica identity full"),
        (
            "ALTER TABLE app.customer REPLICA IDENTITY USING INDEX customer_pkey",
            "~ table app.customer: table → table, replica identity app.customer_pkey",
        ),
        ("ALTER TABLE app.orders DISABLE TRIGGER ALL", "~ constraint app.orders.orders_customer_id_fkey: "),
        ("CREATE STATISTICS app.st ON id, total FROM app.orders", "+ statistics app.st: CREATE STATISTICS app.st ON "),
        ("CREATE PUBLICATION leak FOR ALL TABLES", "+ publication leak: all tables, insert, update, delete, truncate"),
        (
            "CREATE CAST (text AS app.status) WITH INOUT AS IMPLICIT",
            "+ cast (text as app.status): by input and output, implicit",
        ),
        ('CREATE COLLATION app.plain FROM "C"', "+ collation app.plain: provider c, collate C, ctype C"),
        (
            "CREATE EVENT TRIGGER watch ON ddl_command_start WHEN TAG IN ('DROP TABLE', 'CREATE TABLE')"
            " EXECUTE FUNCTION app.seen()",
            "+ event trigger watch: on ddl_command_start when tag in (CREATE TABLE, DROP TABLE) execute app.seen",
        ),
        ("CREATE TABLE opsportal.hidden (id int)", "+ table opsportal.hidden: table"),
        (
            "CREATE FUNCTION opsportal.hidden() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "+ function opsportal.hidden(): returns int",
        ),
        (
            "CREATE INDEX i ON app.orders (id) WHERE id > 5",
            "+ index app.i: CREATE INDEX i ON app.orders USING btree (id) W",
        ),
    ],
)
def test_each_change_is_seen(shop: Database, statement: str, line: str) -> None:
    told = changes(shop, statement)

    assert any(each.startswith(line) for each in told), told


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO app.customer (name) VALUES ('Ada')",
        "SELECT nextval('app.ticket')",
        "ANALYZE",
        "VACUUM FULL app.customer",
        "REFRESH MATERIALIZED VIEW app.totals",
        "CREATE TEMPORARY TABLE scratch (a int)",
    ],
)
def test_data_and_upkeep_change_nothing(shop: Database, statement: str) -> None:
    assert changes(shop, statement) == []


def test_of_a_servers_options_their_names_are_told_and_no_value(database: Database) -> None:
    database.run("CREATE FOREIGN DATA WRAPPER away")

    made = changes(database, "CREATE SERVER far FOREIGN DATA WRAPPER away OPTIONS (host 'h', password 'swordfish')")
    changed = changes(database, "ALTER SERVER far OPTIONS (SET password 'other')")

    assert made[0].startswith("+ server far: wrapper away, options host password, sha256 ")
    assert changed[0].startswith("~ server far: ")
    assert "swordfish" not in "".join((*made, *changed))


def test_the_portals_marker_is_no_part_of_the_catalog_and_what_else_is_in_its_schema_is(database: Database) -> None:
    marking = (
        "CREATE SCHEMA opsportal",
        "CREATE TABLE opsportal.marker (portal text PRIMARY KEY, target text NOT NULL)",
    )

    assert changes(database, *marking) == []
    assert changes(database, "CREATE VIEW opsportal.hidden AS SELECT 1 AS one") != []


def test_a_not_null_that_is_not_validated_is_told(database: Database) -> None:
    database.run("CREATE TABLE a (x int)", "ALTER TABLE a ADD CONSTRAINT present NOT NULL x NOT VALID")
    before = database.read().catalog

    database.run("ALTER TABLE a VALIDATE CONSTRAINT present")

    assert before.unvalidated_constraints == ("public.a.present",)
    assert before.body["constraint public.a.present"] == "NOT NULL x NOT VALID"
    assert "constraint public.a.present" not in database.read().catalog.body


def test_the_rows_of_the_version_table_are_not_part_of_the_catalog(database: Database) -> None:
    database.run(VERSION_TABLE)

    assert changes(database, "INSERT INTO alembic_version VALUES ('aaa1')") == []


def test_an_index_that_failed_to_build_is_told_as_invalid(shop: Database) -> None:
    shop.run("INSERT INTO app.customer (name) VALUES ('twin'), ('twin')")
    before = shop.read().catalog
    with pytest.raises(psycopg.errors.UniqueViolation):
        shop.run("CREATE UNIQUE INDEX CONCURRENTLY customer_name ON app.customer (name)")

    after = shop.read().catalog

    assert before.invalid_indexes == ()
    assert after.invalid_indexes == ("app.customer_name",)
    assert after.body["index app.customer_name"].endswith(" (invalid)")


def test_an_invalid_index_differs_from_the_valid_one(shop: Database, make_target_database: MakeTargetDatabase) -> None:
    copy = Database(urls.parse(make_target_database("copy", template=shop.url.database)))
    shop.run("INSERT INTO app.customer (name) VALUES ('twin'), ('twin')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        shop.run("CREATE UNIQUE INDEX CONCURRENTLY customer_name ON app.customer (name)")
    copy.run("CREATE UNIQUE INDEX CONCURRENTLY customer_name ON app.customer (name)")

    assert shop.read().catalog.fingerprint != copy.read().catalog.fingerprint


def test_a_constraint_that_is_not_validated_is_told(shop: Database) -> None:
    shop.run("ALTER TABLE app.customer ADD CONSTRAINT named CHECK (name <> '') NOT VALID")
    before = shop.read().catalog

    shop.run("ALTER TABLE app.customer VALIDATE CONSTRAINT named")

    assert before.unvalidated_constraints == ("app.customer.named",)
    assert before.body["constraint app.customer.named"].endswith("NOT VALID")
    assert shop.read().catalog.unvalidated_constraints == ()


def test_the_same_schema_built_in_another_order_has_the_same_fingerprint(
    shop: Database, make_target_database: MakeTargetDatabase
) -> None:
    other = Database(urls.parse(make_target_database("other")))
    other.run(
        "CREATE TABLE gone (a int)", *SHOP[:4], SHOP[14], SHOP[16], SHOP[15], *SHOP[4:14], *SHOP[17:], "DROP TABLE gone"
    )

    assert other.read().catalog == shop.read().catalog


def test_a_copy_of_a_database_has_the_same_fingerprint(
    shop: Database, make_target_database: MakeTargetDatabase
) -> None:
    copy = Database(urls.parse(make_target_database("copy", template=shop.url.database)))

    assert copy.read().catalog == shop.read().catalog


def test_settings_of_the_role_and_database_do_not_change_the_fingerprint(shop: Database) -> None:
    before = shop.read().catalog
    shop.run(
        "CREATE TABLE f (x double precision DEFAULT 0.1, i interval DEFAULT '1 day 2 hours', b bytea DEFAULT '\\x00ff')"
    )
    plain = shop.read().catalog
    name = shop.url.database
    shop.run(
        *(
            f'ALTER DATABASE "{name}" SET {setting}'
            for setting in (
                "search_path = app, public",
                "TimeZone = 'Asia/Tokyo'",
                "DateStyle = 'German'",
                "IntervalStyle = 'iso_8601'",
                "quote_all_identifiers = on",
                "extra_float_digits = -10",
                "bytea_output = 'escape'",
            )
        )
    )

    assert before != plain
    assert shop.read().catalog == plain


def test_what_an_extension_owns_is_told_by_its_name_and_version_only(database: Database) -> None:
    told = changes(database, "CREATE EXTENSION hstore")

    assert len(told) == 1
    assert told[0].startswith("+ extension hstore: version ")


def test_hostile_names_survive(database: Database) -> None:
    table = 'Robert"); DROP\nTABLE "é\u202e%s{0}'.replace('"', '""')

    before = database.read().catalog
    database.run(f'CREATE TABLE "{table}" ("a.b" integer, "%(x)s" text)')
    after = database.read().catalog

    assert after.body[f'column public."{table}"."a.b"'] == "integer"
    assert after.body[f'column public."{table}"."%(x)s"'] == "text"
    assert len(catalog.readable(catalog.diff(before, after))) == 3


def test_another_sessions_uncommitted_change_is_not_seen(shop: Database) -> None:
    before = shop.read().catalog
    with shop.connect() as other, other.transaction(force_rollback=True):
        other.execute("CREATE TABLE app.not_yet (id integer)")

        assert shop.read().catalog == before


def test_a_schema_that_changes_while_it_is_read_is_read_again(database: Database) -> None:
    before = database.read().catalog
    database.run("CREATE TABLE gone (id integer PRIMARY KEY)")

    def drop(_: Proxy) -> None:
        database.run("DROP TABLE IF EXISTS gone")

    with proxy.before(database.url, when=b"pg_get_constraintdef", do=drop) as url:
        assert database.read(url).catalog == before


def test_a_schema_that_never_rests_is_told_and_not_read_in_parts(database: Database) -> None:
    def make_anew(_: Proxy) -> None:
        database.run("DROP TABLE IF EXISTS busy", "CREATE TABLE busy (id integer PRIMARY KEY)")

    database.run("CREATE TABLE busy (id integer PRIMARY KEY)")
    with (
        proxy.before(database.url, when=b"pg_get_constraintdef", do=make_anew) as url,
        pytest.raises(CannotRead, match="its schema changes"),
    ):
        database.read(url)


def test_a_role_without_rights_on_the_tables_sees_the_same_catalog(shop: Database, make_role: MakeRole) -> None:
    role = make_role()

    assert shop.read(shop.as_role(role)).catalog == shop.read().catalog
