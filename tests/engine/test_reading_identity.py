"""Which database answered, and whether it is the enrolled one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrations_audit.engine import target, urls
from migrations_audit.engine.types import Endpoint, Identity
from opsportal.local import postgres
from tests.conftest import MakeTargetDatabase
from tests.engine import clusters
from tests.engine.conftest import MakeRole
from tests.engine.database import VERSION_TABLE, Database
from tests.waiting import wait_for

ENROLLED = Identity(
    endpoint=Endpoint(host="db.example", port=5432, database="orders", user="reader"),
    system_identifier="7710899061384153796",
    database_oid=16390,
    database="orders",
    user="reader",
    server_address="10.0.0.1",
    server_port=5432,
    server_version="18.6",
    timeline=2,
    in_recovery=False,
)


def test_a_reading_tells_who_answered(database: Database) -> None:
    identity = database.read().identity

    with database.connect() as connection:
        told = connection.execute(
            "SELECT system_identifier::text, oid::int8, current_setting('server_version') FROM pg_control_system(), pg_database"
            " WHERE datname = current_database()"
        ).fetchone()
    assert (identity.system_identifier, identity.database_oid, identity.server_version) == told
    assert (identity.database, identity.user) == (database.url.database, database.url.user)
    assert (identity.server_address, identity.server_port) == (database.url.host, database.url.port)
    assert (identity.timeline, identity.in_recovery) == (1, False)
    assert Identity.from_dict(identity.as_dict()) == identity


def test_a_plain_role_reads_the_same_identity(database: Database, make_role: MakeRole) -> None:
    role = make_role()

    seen = database.read(database.as_role(role)).identity

    owner = database.read().identity
    assert replace(seen, user=owner.user, endpoint=owner.endpoint) == owner


def test_two_readings_of_one_database_match(database: Database) -> None:
    check = target.compare_identity(database.read().identity, database.read().identity)

    assert check == target.IdentityCheck(matches=True, differences=(), remarks=())


def test_another_database_of_the_cluster_does_not_match(
    database: Database, make_target_database: MakeTargetDatabase
) -> None:
    other = Database(urls.parse(make_target_database("other")))

    check = target.compare_identity(database.read().identity, other.read().identity)

    assert not check.matches
    assert any("oid" in difference for difference in check.differences)


def test_a_database_dropped_and_made_again_does_not_match(database: Database) -> None:
    before = database.read().identity
    admin = Database(replace(database.url, database="postgres"))
    name = database.url.database
    admin.run(f'DROP DATABASE "{name}"', f'CREATE DATABASE "{name}"')

    check = target.compare_identity(before, database.read().identity)

    assert [difference for difference in check.differences if "oid" in difference] == list(check.differences)
    assert not check.matches


def test_another_cluster_behind_the_same_address_does_not_match(
    database: Database, other_cluster: postgres.Postgres
) -> None:
    other = Database(urls.parse(other_cluster.url())).read().identity
    disguised = replace(other, endpoint=database.url.endpoint)

    check = target.compare_identity(database.read().identity, disguised)

    assert any("system identifier" in difference for difference in check.differences)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"system_identifier": "1"}, "system identifier"),
        ({"system_identifier": ""}, "system identifier"),
        ({"database_oid": 1}, "oid"),
        ({"database": "other"}, "name"),
        ({"timeline": 1}, "before a failover"),
        ({"endpoint": replace(ENROLLED.endpoint, host="clone.example")}, "host"),
        ({"endpoint": replace(ENROLLED.endpoint, port=5433)}, "port"),
        ({"endpoint": replace(ENROLLED.endpoint, database="copy")}, "database"),
    ],
)
def test_what_makes_it_another_database_forbids(change: dict[str, Any], word: str) -> None:
    check = target.compare_identity(ENROLLED, replace(ENROLLED, **change))

    assert not check.matches
    assert len(check.differences) == 1
    assert word in check.differences[0]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"user": "owner", "endpoint": replace(ENROLLED.endpoint, user="owner")}, "user"),
        ({"server_address": "10.0.0.2"}, "address"),
        ({"server_port": 6000}, "port"),
        ({"server_version": "18.7"}, "version"),
        ({"timeline": 3}, "failover"),
        ({"timeline": 0}, "not told"),
        ({"in_recovery": True}, "standby"),
    ],
)
def test_what_may_change_is_remarked_and_forbids_nothing(change: dict[str, Any], word: str) -> None:
    check = target.compare_identity(ENROLLED, replace(ENROLLED, **change))

    assert check.matches
    assert len(check.remarks) == 1
    assert word in check.remarks[0]


def test_a_server_from_before_a_failover_does_not_match_although_it_was_enrolled() -> None:
    check = target.compare_identity(ENROLLED, ENROLLED, last_timeline=3)

    assert check.differences == (
        "The timeline went back from 3 to 2: a server from before a failover answers.",
    )  # fmt: skip


def test_a_failover_is_remarked_until_the_next_plan() -> None:
    promoted = replace(ENROLLED, timeline=3)

    before_the_plan = target.compare_identity(ENROLLED, promoted, last_timeline=3)
    after_the_plan = target.compare_identity(ENROLLED, promoted, last_timeline=3, planned_timeline=3)
    second = target.compare_identity(ENROLLED, replace(ENROLLED, timeline=4), last_timeline=3, planned_timeline=3)

    assert before_the_plan.remarks == ("The timeline was 2 and is 3: a failover happened since enrolment.",)
    assert after_the_plan == target.IdentityCheck(matches=True, differences=(), remarks=())
    assert second.remarks == ("The timeline was 3 and is 4: a failover happened since the last plan.",)


def test_a_physical_copy_at_the_same_address_has_the_same_identity(
    related_clusters: clusters.Clusters,
) -> None:
    primary = related_clusters.primary()
    original = Database(urls.parse(primary.url())).read().identity

    copy = Database(urls.parse(related_clusters.clone(primary).url())).read().identity

    disguised = replace(copy, endpoint=original.endpoint, server_port=original.server_port)
    assert target.compare_identity(original, disguised).differences == ()


def test_an_enrolment_without_system_identifier_says_what_it_rests_on() -> None:
    unknown = replace(ENROLLED, system_identifier="")

    check = target.compare_identity(unknown, unknown)

    assert check.matches
    assert "rests on" in check.remarks[0]


def test_a_service_that_withholds_the_control_functions_is_read_without_them(
    other_cluster: postgres.Postgres,
) -> None:
    owner = Database(urls.parse(other_cluster.url()))
    owner.run(
        "CREATE ROLE plain LOGIN PASSWORD 'p-plain'",
        "REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint(), pg_walfile_name(pg_lsn) FROM public",
    )

    identity = owner.read(replace(owner.url, user="plain", password="p-plain")).identity

    assert (identity.system_identifier, identity.timeline) == ("", 0)
    assert identity.database == "postgres"


def test_prepared_transactions_of_this_database_are_told(other_cluster: postgres.Postgres) -> None:
    owner = Database(urls.parse(other_cluster.url()))
    other_cluster.create_database("other")
    elsewhere = Database(urls.parse(other_cluster.url("other")))
    owner.run("CREATE TABLE t (a int)")
    elsewhere.run("CREATE TABLE t (a int)")
    for each, name in ((owner, "left behind"), (elsewhere, "not ours")):
        with psycopg.connect(**each.url.connect_arguments()) as connection:
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute(f"PREPARE TRANSACTION '{name}'".encode())

    assert owner.read().prepared_transactions == ("left behind",)


def test_a_standby_is_read_and_its_promotion_shows_at_once(other_cluster: postgres.Postgres) -> None:
    owner = Database(urls.parse(other_cluster.url()))
    owner.run(VERSION_TABLE, "INSERT INTO alembic_version VALUES ('aaa1')")
    with owner.connect() as connection:
        row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    assert row is not None
    other_cluster.stop()
    (Path(row[0]) / "standby.signal").touch()
    other_cluster.start()
    owner = Database(urls.parse(other_cluster.url()))

    standby = owner.read()
    owner.run("SELECT pg_promote()")
    wait_for(lambda: not owner.read().identity.in_recovery, what="the promotion")
    promoted = owner.read()

    assert standby.revisions == ("aaa1",)
    assert standby.identity.in_recovery
    assert (standby.identity.timeline, promoted.identity.timeline) == (1, 2)
    check = target.compare_identity(standby.identity, promoted.identity)
    assert check.matches
    assert "failover" in check.remarks[0]
