"""The portal's marker: written once, read with every reading, and what tells a copy from its original."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from migrations_audit.engine import fence, marker, urls
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.types import Marker, Marking, Reading
from migrations_audit.engine.urls import TargetUrl
from tests.engine import clusters
from tests.engine.conftest import MakeRole
from tests.engine.database import Database

PORTAL = "ops"


def new(reading: Reading, target: str = "market/production/main") -> Marker:
    return Marker(str(uuid.uuid4()), PORTAL, target, marker.address(reading.identity.endpoint), "")


def marking(database: Database, url: TargetUrl | None = None) -> Marking:
    """What is read of markers, as the owner or with another URL."""
    found = database.read(url).marking
    assert found is not None
    return found


def put(database: Database, written: Marker | None = None, *, replaces: str = "", of: Reading | None = None) -> Marker:
    """Mark the database as it is read now, or as it was read before."""
    reading = of or database.read()
    return marker.write(
        database.url,
        marker=written or new(reading),
        replaces=replaces,
        identity=reading.identity,
        server_started_at=reading.server_started_at,
    )


def test_a_marker_is_read_as_it_was_written(database: Database) -> None:
    written = put(database)

    found = marking(database)

    assert found.markers == (written,)
    assert found.of(PORTAL) == written
    assert found.of("another") is None
    assert written.endpoint == f"127.0.0.1:{database.url.port}/{database.url.database}"


def test_an_unmarked_database_says_whether_this_role_may_mark_it(database: Database, make_role: MakeRole) -> None:
    owner, plain = marking(database), marking(database, database.as_role(make_role()))

    assert (owner.markers, owner.may_write, owner.problem) == ((), True, "")
    assert (plain.markers, plain.may_write, plain.problem) == ((), False, "")


def test_a_marker_is_no_part_of_the_schema(database: Database) -> None:
    before = database.read().catalog

    put(database)

    assert database.read().catalog == before


def test_every_role_reads_the_marker_and_only_its_writer_may_change_it(database: Database, make_role: MakeRole) -> None:
    role = database.as_role(make_role())
    written = put(database)

    found = marking(database, role)

    assert (found.markers, found.may_write) == ((written,), False)


def test_only_the_marker_that_was_read_is_replaced(database: Database) -> None:
    first = put(database)

    with pytest.raises(marker.NotMarked, match="Somebody else"):
        put(database, replaces="")
    with pytest.raises(marker.NotMarked, match="Somebody else"):
        put(database, replaces=str(uuid.uuid4()))
    second = put(database, replaces=first.id)

    assert second.id != first.id
    assert marking(database).markers == (second,)


def test_two_portals_have_a_marker_each(database: Database) -> None:
    ours = put(database)
    theirs = put(database, replace(new(database.read()), portal="others"))

    assert marking(database).markers == (ours, theirs)


def test_nothing_is_written_while_a_run_holds_its_lock(database: Database) -> None:
    with database.connect() as run:
        run.execute("SELECT pg_advisory_lock(%s, %s)", fence.LOCK_KEY)

        with pytest.raises(marker.NotMarked, match="run lock"):
            put(database)

    assert marking(database).markers == ()


def test_another_database_under_the_name_is_not_marked(database: Database) -> None:
    reading = database.read()
    admin = Database(replace(database.url, database="postgres"))
    admin.run(f'DROP DATABASE "{database.url.database}"', f'CREATE DATABASE "{database.url.database}"')

    with pytest.raises(marker.NotMarked, match="Another server"):
        put(database, of=reading)

    assert marking(database).markers == ()


def test_a_role_without_the_right_gets_an_error_and_leaves_nothing(database: Database, make_role: MakeRole) -> None:
    role = Database(database.as_role(make_role()))

    with pytest.raises(CannotRead, match="permission"):
        put(role)

    assert marking(database).markers == ()


def test_a_locked_table_does_not_hold_the_worker(database: Database) -> None:
    first = put(database)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE opsportal.marker IN SHARE MODE")

        with pytest.raises(CannotRead, match="lock"):
            put(database, replaces=first.id)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("CREATE VIEW opsportal.marker AS SELECT 1 AS id", "no ordinary table"),
        ("CREATE TABLE opsportal.marker (id int)", "does not exist"),
        (
            "CREATE TABLE opsportal.marker (id int, portal int, target int, endpoint int, written_at int)",
            "does not exist",
        ),
    ],
)
def test_a_table_that_is_not_the_portals_is_told_and_never_believed(database: Database, made: str, words: str) -> None:
    database.run("CREATE SCHEMA opsportal", made)

    found = marking(database)

    assert (found.markers, found.may_write) == ((), False)
    assert words in found.problem


def test_a_marker_that_this_role_may_not_read_is_not_taken_for_a_lost_one(
    database: Database, make_role: MakeRole
) -> None:
    role = database.as_role(make_role())
    put(database)
    database.run("REVOKE ALL ON opsportal.marker FROM PUBLIC")

    assert "may not read" in marking(database, role).problem


def test_a_hostile_marker_is_shown_cut_and_clean(database: Database) -> None:
    written = put(database)
    with database.connect() as connection:
        connection.execute("UPDATE opsportal.marker SET target = %s", ["\u202emain" * 200])

    (shown,) = marking(database).markers

    assert shown.target.startswith("\\u202emain")
    assert len(shown.target) == marker.LONGEST_TEXT
    assert shown.id == written.id


def test_a_standby_is_not_marked(related_clusters: clusters.Clusters) -> None:
    standby = related_clusters.standby(related_clusters.primary())
    database = Database(urls.parse(standby.url()))

    with pytest.raises(marker.NotMarked, match="standby"):
        put(database)


def test_a_physical_copy_carries_the_marker_of_its_original(related_clusters: clusters.Clusters) -> None:
    primary = related_clusters.primary()
    original = Database(urls.parse(primary.url()))
    written = put(original)

    cloned = Database(urls.parse(related_clusters.clone(primary).url()))
    copy = cloned.read()

    first = original.read()
    told = (copy.identity.system_identifier, copy.identity.database_oid, copy.identity.timeline)
    assert told == (first.identity.system_identifier, first.identity.database_oid, first.identity.timeline)
    assert marking(cloned).of(PORTAL) == written
    assert marker.address(copy.identity.endpoint) != written.endpoint
    assert copy.server_started_at != first.server_started_at


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_nothing_is_written_through_a_pooler(related_clusters: clusters.Clusters, tmp_path: Path, mode: str) -> None:
    primary = related_clusters.primary()
    with clusters.pooled(tmp_path / "pooler", primary, mode=mode) as pooler:
        through = Database(urls.parse(pooler.url()))
        reading = through.read()

        with pytest.raises(marker.NotMarked, match="pooler"):
            put(through)

    assert reading.pooled
    with psycopg.connect(primary.url()) as connection:
        assert connection.execute("SELECT to_regnamespace('opsportal')").fetchone() == (None,)
