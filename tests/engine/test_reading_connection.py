"""What the portal says of a target that it cannot reach, enter or read."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from migrations_audit.engine import target, urls
from tests.engine import proxy
from tests.engine.conftest import MakeRole
from tests.engine.database import VERSION_TABLE, Database
from tests.engine.proxy import Proxy


def refusal(database: Database, url: urls.TargetUrl | None = None, **settings: object) -> target.CannotRead:
    with pytest.raises(target.CannotRead) as caught:
        database.read(url, **settings)
    url = url or database.url
    assert url.display() in caught.value.message
    assert url.password not in f"{caught.value!r} {caught.value}"
    assert caught.value.__suppress_context__
    return caught.value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_wrong_password_is_an_authentication_failure(database: Database) -> None:
    assert refusal(database, replace(database.url, password="hunter2-wrong")).code == "authentication"


def test_an_unknown_role_is_an_authentication_failure(database: Database) -> None:
    assert refusal(database, replace(database.url, user="nobody here")).code == "authentication"


def test_no_password_is_an_authentication_failure_and_no_password_file_is_read(database: Database) -> None:
    with pytest.raises(target.CannotRead) as caught:
        database.read(replace(database.url, password=""))

    assert caught.value.code == "authentication"


def test_a_refused_port_is_unreachable(database: Database) -> None:
    assert refusal(database, replace(database.url, port=free_port())).code == "unreachable"


def test_an_unknown_host_is_unreachable(database: Database) -> None:
    assert refusal(database, replace(database.url, host="no-such-host.invalid")).code == "unreachable"


def test_an_unknown_database_is_named(database: Database) -> None:
    error = refusal(database, replace(database.url, database="nope"))

    assert error.code == "no_such_database"
    assert "/nope" in error.message


def test_names_cannot_disguise_the_reason(database: Database) -> None:
    hostile = replace(database.url, database='x" password authentication failed "y')

    assert refusal(database, hostile).code == "no_such_database"


def test_a_database_that_accepts_nobody_is_a_matter_of_permission(database: Database) -> None:
    assert refusal(database, replace(database.url, database="template0")).code == "permission"


def test_a_role_without_connect_is_a_matter_of_permission(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(f'REVOKE CONNECT ON DATABASE "{database.url.database}" FROM public')

    assert refusal(database, database.as_role(role)).code == "permission"


def test_a_full_server_is_told_as_such(database: Database, make_role: MakeRole) -> None:
    role = make_role()
    database.run(f"ALTER ROLE {role.user} CONNECTION LIMIT 0")

    assert refusal(database, database.as_role(role)).code == "too_many_connections"


def test_a_demand_for_encryption_is_not_dropped(database: Database) -> None:
    assert refusal(database, replace(database.url, parameters=(("sslmode", "verify-full"),))).code == "tls"


def test_the_workers_environment_does_not_redirect_a_connection(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {
        "PGHOSTADDR": "192.0.2.1",
        "PGOPTIONS": "-c search_path=evil",
        "PGTARGETSESSIONATTRS": "read-only",
        "PGSSLMODE": "require",
        "PGAPPNAME": "somebody else",
    }
    with monkeypatch.context() as environment:
        for name, value in elsewhere.items():
            environment.setenv(name, value)

        assert database.read().identity.endpoint == database.url.endpoint


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("the database system is starting up", "starting_up"),
        ("the database system is shutting down", "starting_up"),
        ("the database system is not yet accepting connections", "starting_up"),
        ("sorry, too many clients already", "too_many_connections"),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", "too_many_connections"),
        ('no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption', "authentication"),
        ('role "ssl" does not exist', "authentication"),
        ('role "u" is not permitted to log in', "authentication"),
        ("no such database: d", "no_such_database"),
        ("Datenbank »d« existiert nicht", "other"),
        ("out of shared memory", "other"),
    ],
)
def test_a_refusal_is_known_by_its_words_and_the_words_are_told(database: Database, words: str, code: str) -> None:
    with proxy.refusing(database.url, words) as url:
        error = refusal(database, url)

    assert error.code == code
    assert words in error.message


def test_a_server_that_accepts_and_says_nothing_is_a_timeout(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = replace(database.url, port=silent.getsockname()[1])

        assert refusal(database, url, connect_timeout_s=1).code == "timeout"


def test_a_server_that_freezes_during_the_reading_is_a_timeout(database: Database) -> None:
    with proxy.before(database.url, when=b"pg_sequence", do=Proxy.freeze) as url:
        assert refusal(database, url, statement_timeout_ms=250).code == "timeout"


def test_a_connection_that_breaks_during_the_reading_is_unreachable(database: Database) -> None:
    with proxy.before(database.url, when=b"pg_sequence", do=Proxy.close) as url:
        assert refusal(database, url).code == "unreachable"


def test_a_lock_on_what_must_be_read_is_a_timeout_and_not_a_wait(database: Database) -> None:
    database.run(VERSION_TABLE)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE alembic_version")

        assert refusal(database).code == "timeout"


def test_a_statement_over_its_limit_is_a_timeout(database: Database) -> None:
    database.run("DO $$ BEGIN FOR i IN 1..400 LOOP EXECUTE format('CREATE TABLE t%s (a int)', i); END LOOP; END $$")

    assert refusal(database, statement_timeout_ms=1).code == "timeout"


def test_names_that_are_no_text_are_told(database: Database) -> None:
    name = database.url.database
    admin = Database(replace(database.url, database="postgres"))
    admin.run(
        f'DROP DATABASE "{name}"', f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
    )
    with database.connect(client_encoding="SQL_ASCII") as connection:
        connection.execute(b'CREATE TABLE "caf\xe9" (a integer)')

    assert "not valid in UTF-8" in refusal(database).message


def test_a_pooler_is_noticed_by_its_own_backend_key(database: Database) -> None:
    assert not database.read().pooled

    with proxy.before(database.url, when=b"user", do=Proxy.pretend_to_pool) as url:
        assert database.read(url).pooled
