"""Reading MariaDB and SQLite: identity, revisions, catalog, and what is said when nothing can be read."""

from __future__ import annotations

import os
import socket
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from migrations_audit.engine import catalog, dialects
from migrations_audit.engine.session import CannotRead
from migrations_audit.engine.version_rows import UnreadableVersionTable
from tests import mariadb
from tests.conftest import MakeMariadbDatabase
from tests.engine.engines import MariadbTarget, SqliteTarget

ALL_KINDS = (
    "CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'x', n int,"
    " twice int AS (n * 2) STORED, CONSTRAINT positive CHECK (n > 0))",
    "CREATE TABLE `Odd.Name` (a int, b int, UNIQUE KEY both_of (a, b),"
    " CONSTRAINT owner FOREIGN KEY (a) REFERENCES users (id) ON DELETE CASCADE)",
    "CREATE VIEW grown AS SELECT id FROM users WHERE n > 5",
    "CREATE TRIGGER named BEFORE INSERT ON users FOR EACH ROW SET NEW.name = 'y'",
    "CREATE FUNCTION next_of(a int) RETURNS int DETERMINISTIC RETURN a + 1",
    "CREATE PROCEDURE nothing(IN a int) BEGIN SELECT 1; END",
    "CREATE SEQUENCE numbers START WITH 5",
    "CREATE TABLE parts (id int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))",
)


@pytest.fixture
def on_mariadb(make_mariadb_database: MakeMariadbDatabase) -> MariadbTarget:
    return MariadbTarget(make_mariadb_database("reading"))


@pytest.fixture
def on_sqlite(tmp_path: Path) -> SqliteTarget:
    path = tmp_path / "shop.db"
    path.touch()
    return SqliteTarget(str(path))


def test_mariadb_says_who_it_is(on_mariadb: MariadbTarget, mariadb_server: mariadb.Mariadb) -> None:
    identity = on_mariadb.read().identity

    assert identity.engine == "mariadb"
    assert (identity.database, identity.user) == (on_mariadb.parsed.database, on_mariadb.parsed.user)
    assert [identity.system_identifier] == [row[0] for row in mariadb_server.execute("SELECT @@server_uid")]
    assert identity.server_port == on_mariadb.parsed.port
    assert not on_mariadb.read().transactional_ddl


def test_a_database_of_mariadb_without_anything_is_at_base(on_mariadb: MariadbTarget) -> None:
    reading = on_mariadb.read()

    assert (reading.revisions, reading.catalog.body, reading.pooled) == (None, {}, False)


def test_every_kind_of_object_of_mariadb_is_told(on_mariadb: MariadbTarget) -> None:
    for statement in ALL_KINDS:
        on_mariadb.execute(statement)

    body = on_mariadb.read().catalog.body

    assert body["column users.id"] == "int(11) not null auto_increment"
    assert body["column users.name"].endswith("not null default 'x'")
    assert body["constraint users.PRIMARY"] == "primary key (id)"
    assert body["constraint users.positive"] == "check (`n` > 0)"
    assert body['index "Odd.Name".both_of'] == "unique btree (a, b)"
    assert body['constraint "Odd.Name".owner'].startswith("foreign key (a) references users (id)")
    assert "BEFORE INSERT" in body["trigger users.named"]
    assert {"view grown", "function next_of", "procedure nothing", "sequence numbers"} <= body.keys()
    assert "p0 10" in body["table parts"]


def test_two_databases_with_one_schema_have_one_fingerprint(
    on_mariadb: MariadbTarget, make_mariadb_database: MakeMariadbDatabase
) -> None:
    other = MariadbTarget(make_mariadb_database("twin"))
    for statement in ALL_KINDS:
        on_mariadb.execute(statement)
        other.execute(statement)
    on_mariadb.execute("INSERT INTO users (n) VALUES (1)")

    assert on_mariadb.read().catalog.fingerprint == other.read().catalog.fingerprint


def test_a_change_is_told_with_its_table(on_mariadb: MariadbTarget) -> None:
    on_mariadb.execute("CREATE TABLE users (id int)")
    before = on_mariadb.read().catalog
    on_mariadb.execute("ALTER TABLE users ADD COLUMN name text, ADD PRIMARY KEY (id)")

    changed = [str(change) for change in catalog.diff(before, on_mariadb.read().catalog)]

    assert changed == ["~ column users.id", "+ column users.name", "+ constraint users.PRIMARY"]


def test_a_view_as_version_table_proves_nothing(on_mariadb: MariadbTarget) -> None:
    on_mariadb.execute("CREATE VIEW alembic_version AS SELECT 'r9' AS version_num")

    with pytest.raises(UnreadableVersionTable, match="a view"):
        on_mariadb.read()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "hunter2-wrong"}, "authentication"),
        ({"database": "nobody_has_this"}, "permission"),
        ({"port": 1}, "unreachable"),
        ({"host": "no-such-host.invalid"}, "unreachable"),
    ],
)
def test_why_mariadb_cannot_be_read(on_mariadb: MariadbTarget, change: dict[str, object], code: str) -> None:
    with pytest.raises(CannotRead) as caught:
        dialects.read(replace(on_mariadb.parsed, **change), application_name="test")  # type: ignore[arg-type]

    assert caught.value.code == code
    assert "hunter2" not in caught.value.message


def test_a_server_that_accepts_and_says_nothing_is_given_up(
    on_mariadb: MariadbTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "CONNECT_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = replace(on_mariadb.parsed, port=silent.getsockname()[1])

        with pytest.raises(CannotRead) as caught:
            dialects.read(url, application_name="test")

    assert caught.value.code == "timeout"


def test_sqlite_says_which_file_it_is(on_sqlite: SqliteTarget) -> None:
    identity = on_sqlite.read().identity

    assert (identity.engine, identity.database) == ("sqlite", on_sqlite.url)
    assert identity.system_identifier == f"inode {os.stat(on_sqlite.url).st_ino}"
    assert str(identity.endpoint) == on_sqlite.url


def test_every_kind_of_object_of_sqlite_is_told(on_sqlite: SqliteTarget) -> None:
    for statement in (
        "CREATE TABLE users (id integer PRIMARY KEY AUTOINCREMENT, name text NOT NULL DEFAULT 'x', n int CHECK (n > 0),"
        " UNIQUE (name))",
        "CREATE TABLE owned (a int REFERENCES users (id) ON DELETE CASCADE, b int, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "CREATE INDEX some ON users (name DESC) WHERE n > 5",
        "CREATE VIEW grown AS SELECT id FROM users",
        "CREATE TRIGGER named AFTER INSERT ON users BEGIN SELECT 1; END",
    ):
        on_sqlite.execute(statement)

    body = on_sqlite.read().catalog.body

    assert body["table users"] == "table, autoincrement"
    assert body["table owned"] == "table, without rowid"
    assert body["column users.name"] == "TEXT not null default 'x'"
    assert body['constraint users."check 1"'] == "check ( n > 0 )"
    assert body['constraint users."unique name"'] == "unique (name)"
    assert body['constraint owned."primary key"'] == "primary key (a, b)"
    assert "on delete CASCADE" in body['constraint owned."foreign key a to users"']
    assert "where n > 5" in body["index users.some"].lower()
    assert {"view grown", "trigger users.named"} <= body.keys()


def test_a_table_altered_to_a_form_and_one_created_in_it_are_told_alike(
    on_sqlite: SqliteTarget, tmp_path: Path
) -> None:
    other = SqliteTarget(str(tmp_path / "other.db"))
    on_sqlite.execute("CREATE TABLE users (id integer PRIMARY KEY, name text)")
    other.execute("CREATE TABLE users (id integer PRIMARY KEY)")
    other.execute("ALTER TABLE users ADD COLUMN name text")

    assert on_sqlite.read().catalog == other.read().catalog


def test_a_database_in_wal_mode_is_read_with_what_is_only_in_its_log(on_sqlite: SqliteTarget) -> None:
    writer = sqlite3.connect(on_sqlite.url, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE fresh (id int)")

    assert "table fresh" in on_sqlite.read().catalog.body
    writer.close()


@pytest.mark.parametrize("content", [b"not a database" * 100, os.urandom(4096)])
def test_a_file_that_is_no_database_is_told(on_sqlite: SqliteTarget, content: bytes) -> None:
    Path(on_sqlite.url).write_bytes(content)

    with pytest.raises(CannotRead, match="not a SQLite database"):
        on_sqlite.read()


def test_a_file_with_two_names_is_refused(on_sqlite: SqliteTarget, tmp_path: Path) -> None:
    os.link(on_sqlite.url, tmp_path / "second.db")

    with pytest.raises(CannotRead, match="2 names"):
        on_sqlite.read()


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("CREATE VIEW alembic_version AS SELECT 'r9' AS version_num", "a view"),
        ("CREATE TABLE alembic_version (other text)", "no column version_num"),
    ],
)
def test_a_version_table_that_alembic_did_not_make_is_told(
    on_sqlite: SqliteTarget, statement: str, sentence: str
) -> None:
    on_sqlite.execute(statement)

    with pytest.raises(UnreadableVersionTable, match=sentence):
        on_sqlite.read()


def test_nothing_is_written_by_reading(on_sqlite: SqliteTarget) -> None:
    on_sqlite.execute("CREATE TABLE users (id int)")
    before = (Path(on_sqlite.url).read_bytes(), sorted(os.listdir(os.path.dirname(on_sqlite.url))))

    on_sqlite.read()

    assert (Path(on_sqlite.url).read_bytes(), sorted(os.listdir(os.path.dirname(on_sqlite.url)))) == before
