"""What a change would meet on its target now: read from a real server, with what a role may not see left out."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from migrations_audit.engine import impact, urls
from migrations_audit.engine.impact import Impact
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.urls import TargetUrl
from opsportal.local import postgres
from tests.engine import clusters
from tests.engine.conftest import MakeRole
from tests.engine.database import Database, create_role
from tests.waiting import wait_for


def read(url: TargetUrl, *names: str) -> Impact:
    return impact.read(url, names=names, application_name="opsportal:test")


def held_by(found: Impact) -> list[dict[str, Any]]:
    return [row for row in found.holders if row["program"] == "holder"]


def test_sizes_and_rows_are_read_largest_first(database: Database) -> None:
    database.run(
        "CREATE TABLE small (id int)",
        'CREATE TABLE "Large.one" (v text)',
        "INSERT INTO \"Large.one\" SELECT repeat('x', 500) FROM generate_series(1, 1000)",
        'ANALYZE "Large.one"',
    )

    found = read(database.url, "public.small", 'public."Large.one"')

    assert [row["name"] for row in found.relations] == ['public."Large.one"', "public.small"]
    large, small = found.relations
    assert (large["rows"], large["never_analyzed"]) == (1000, False)
    assert large["bytes"] > 500_000
    assert (small["rows"], small["never_analyzed"]) == (0, True)
    assert found.at


def test_a_relation_that_is_gone_is_left_out(database: Database) -> None:
    assert read(database.url, "public.gone", 'nowhere."x"').relations == []


def named(url: TargetUrl, *names: tuple[str, str]) -> list[str]:
    """The relations that are found by names as SQL has them."""
    found = impact.read(url, names=(), named=names, application_name="opsportal:test")
    return sorted(row["name"] for row in found.relations)


def test_a_name_as_sql_has_it_is_looked_for_in_the_search_path_of_the_role(database: Database) -> None:
    database.run(
        "CREATE SCHEMA book",
        "CREATE SCHEMA beside",
        'CREATE TABLE book."Large.one" (id int)',
        "CREATE TABLE book.shared (id int)",
        "CREATE TABLE public.shared (id int)",
        "CREATE TABLE beside.hidden (id int)",
        f'ALTER ROLE CURRENT_USER IN DATABASE "{database.url.database}" SET search_path = book, public',
    )

    assert named(database.url, ("", "Large.one"), ("", "shared"), ("", "hidden"), ("", "gone")) == [
        'book."Large.one"',
        "book.shared",
    ]
    assert named(database.url, ("beside", "hidden"), ("public", "shared")) == ["beside.hidden", "public.shared"]


def test_an_index_stands_for_its_table_and_the_servers_own_tables_for_nothing(database: Database) -> None:
    database.run("CREATE TABLE entries (id int)", "CREATE INDEX entries_id ON entries (id)")

    found = named(database.url, ("", "entries_id"), ("", "entries"), ("pg_catalog", "pg_class"), ("", "pg_class"))

    assert found == ["public.entries"]


def test_who_works_with_a_table_is_named_with_the_lock_and_the_age_of_the_transaction(database: Database) -> None:
    database.run("CREATE TABLE busy (id int)", "CREATE TABLE idle (id int)")
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("UPDATE busy SET id = 1")

        found = read(database.url, "public.busy", "public.idle")

        (row,) = held_by(found)
        assert (row["relation"], row["mode"], row["pid"]) == (
            "public.busy",
            "RowExclusiveLock",
            holder.info.backend_pid,
        )
        assert row["transaction_s"] >= 0
        assert row["state"] == "idle in transaction"
        assert found.sees_others


def test_all_modes_of_a_holder_are_told(database: Database) -> None:
    database.run("CREATE TABLE busy (id int)")
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("SELECT * FROM busy")
        holder.execute("UPDATE busy SET id = 1")

        (row,) = held_by(read(database.url, "public.busy"))

        assert row["mode"] == "AccessShareLock, RowExclusiveLock"


def test_a_prepared_transaction_is_told_with_its_name_its_owner_and_its_age(
    other_cluster: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impact, "LONG_S", 0)
    url = other_cluster.url()
    clusters.execute(url, "CREATE TABLE busy (id int)")
    clusters.execute(url, "CREATE TABLE beside (id int)")
    with psycopg.connect(url) as session:
        session.execute("LOCK TABLE beside IN SHARE MODE")
        session.execute("PREPARE TRANSACTION 'beside'")
        session.execute("LOCK TABLE busy IN SHARE MODE")
        session.execute("SELECT * FROM busy")
        session.execute("PREPARE TRANSACTION 'left over'")
    clusters.execute(url, "CREATE DATABASE other")

    found = read(urls.parse(url), "public.busy")
    (row,) = found.holders

    assert (row["relation"], row["mode"]) == ("public.busy", "AccessShareLock, ShareLock")
    assert (row["pid"], row["gid"], row["user"], row["state"]) == (None, "left over", postgres.USER, "prepared")
    assert row["transaction_s"] >= 0
    assert [each["gid"] for each in found.long] == ["beside", "left over"]
    assert read(replace(urls.parse(url), database="other"), "public.busy").long == []
    other_cluster.stop()
    other_cluster.start()
    url = other_cluster.url()
    assert [each["gid"] for each in read(urls.parse(url), "public.busy").holders] == ["left over"]
    clusters.execute(url, "ROLLBACK PREPARED 'left over'")
    clusters.execute(url, "ROLLBACK PREPARED 'beside'")
    assert read(urls.parse(url), "public.busy").holders == []


def test_a_long_transaction_is_told_even_if_it_holds_nothing_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impact, "LONG_S", 0)
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("SELECT 1")

        found = read(database.url)

        assert [row["pid"] for row in found.long if row["program"] == "holder"] == [holder.info.backend_pid]


def test_a_dump_is_told_however_young_it_is(database: Database) -> None:
    with database.connect(application_name="pg_dump") as dump, dump.transaction():
        dump.execute("SELECT 1")

        assert [row["pid"] for row in read(database.url).long] == [dump.info.backend_pid]


@contextmanager
def base_backup(source: postgres.Postgres) -> Iterator[None]:
    """One that would take for ever, while the block lasts."""
    found = re.search(r"://[^:]+:([^@]+)@", source.url())
    assert found is not None
    command = [
        str(postgres.find_binaries() / "pg_basebackup"),
        "-D",
        "-",
        "-F",
        "tar",
        "-X",
        "none",
        "--checkpoint=fast",
    ]
    where = ["--max-rate=32", "-h", source.host, "-p", str(source.port), "-U", postgres.USER]
    environment = {**os.environ, "PGPASSWORD": found[1]}
    process = subprocess.Popen(
        [*command, *where], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(
            lambda: clusters.one(source.url(), "SELECT count(*) FROM pg_stat_progress_basebackup") == (1,),
            what="the base backup to begin",
        )
        yield
    finally:
        process.kill()
        process.wait()


def test_a_base_backup_of_the_server_is_told_and_is_no_standby(related_clusters: clusters.Clusters) -> None:
    primary = related_clusters.primary()
    with base_backup(primary):
        found = read(urls.parse(primary.url()))

    assert [(row["user"], row["program"]) for row in found.backups] == [(postgres.USER, "pg_basebackup")]
    assert found.backups[0]["phase"]
    assert found.standbys == []


def test_how_far_a_standby_is_behind_is_told_to_whom_it_may_be(related_clusters: clusters.Clusters) -> None:
    primary = related_clusters.primary()
    url = urls.parse(primary.url())
    standby = related_clusters.standby(primary)

    def only() -> dict[str, Any]:
        (row,) = read(url).standbys
        return row

    wait_for(lambda: only()["behind_bytes"] == 0, what="the primary to know that its standby has replayed all")
    standby.pause_replay()
    clusters.execute(primary.url(), "CREATE TABLE written AS SELECT generate_series(1, 1000)")
    behind = only()
    with psycopg.connect(primary.url(), autocommit=True) as server:
        create_role(server, "stranger", "swordfish")
    (unseen,) = read(replace(url, user="stranger", password="swordfish")).standbys

    assert (behind["state"], behind["sync"]) == ("streaming", "async")
    assert behind["behind_bytes"] > 1_000
    assert (unseen["name"], unseen["state"]) == (behind["name"], "")
    assert (unseen["lag_s"], unseen["behind_bytes"]) == (None, None)


def test_a_role_that_may_not_see_others_says_so(make_role: MakeRole, database: Database) -> None:
    role = make_role()
    database.run("CREATE TABLE busy (id int)")
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("UPDATE busy SET id = 4711")

        found = read(database.as_role(role), "public.busy")

        assert not found.sees_others
        assert not any("4711" in row["query"] for row in found.holders)


def test_odd_words_of_others_are_made_fit_to_show(database: Database) -> None:
    database.run("CREATE TABLE busy (id int)")
    with database.connect(application_name="holder") as holder, holder.transaction():
        holder.execute("LOCK TABLE busy /* \x1b[2J \u202e */ IN SHARE MODE")

        (row,) = held_by(read(database.url, "public.busy"))

        assert "\x1b" not in row["query"]
        assert "\\u202e" in row["query"]


def test_no_more_holders_are_told_than_are_looked_at(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impact, "MOST_HOLDERS", 2)
    database.run("CREATE TABLE busy (id int)")
    holders = [database.connect(application_name="holder") for _ in range(4)]
    try:
        for each in holders:
            each.execute("BEGIN")
            each.execute("SELECT * FROM busy")

        assert len(read(database.url, "public.busy").holders) == 2
    finally:
        for each in holders:
            each.close()


def test_the_target_is_only_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impact, "_SEES_OTHERS", "CREATE TABLE written (id int)")

    with pytest.raises(CannotRead, match="read-only"):
        read(database.url)

    with database.connect() as connection:
        assert connection.execute("SELECT to_regclass('written')").fetchone() == (None,)


def test_a_target_that_does_not_answer_is_told_without_its_password(database: Database) -> None:
    gone = TargetUrl(driver="", host="127.0.0.1", port=1, database="x", user="y", password="swordfish")

    with pytest.raises(CannotRead) as caught:
        read(gone)

    assert "swordfish" not in caught.value.message


def test_a_hostile_function_of_the_target_is_not_called(database: Database) -> None:
    database.run(
        "CREATE TABLE trapped (id int)",
        "CREATE FUNCTION greatest_trap() RETURNS int LANGUAGE sql AS 'INSERT INTO trapped VALUES (1) RETURNING 1'",
        "CREATE FUNCTION to_regclass(varchar) RETURNS regclass LANGUAGE sql AS 'SELECT greatest_trap()::oid::regclass'",
        "ALTER ROLE CURRENT_USER IN DATABASE " + f'"{database.url.database}"' + " SET search_path = public, pg_catalog",
    )

    read(database.url, "public.trapped")
    named(database.url, ("", "trapped"))

    with psycopg.connect(**database.url.connect_arguments()) as connection:
        assert connection.execute("SELECT count(*) FROM public.trapped").fetchone() == (0,)
