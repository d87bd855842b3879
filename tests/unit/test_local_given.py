"""A server that the environment names is checked before anything is built on it, and refused with a reason."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from opsportal.local import given, process
from tests import servers

PASSWORD = "pass-4711-word"


@pytest.fixture
def plain_role(target_server: servers.TargetServer) -> Iterator[str]:
    """The URL of a role that may log in and nothing else."""
    name = f"plain_{secrets.token_hex(4)}"
    with target_server.connect() as connection:
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(PASSWORD)))
    parts = urlsplit(target_server.admin_url)
    yield f"postgresql://{name}:{PASSWORD}@{parts.hostname}:{parts.port}/postgres"
    with target_server.connect() as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def refusal(url: str, *, needs: given.Need | None = None) -> str:
    with pytest.raises(given.ServerRefused) as caught:
        given.check_database("DATABASE_URL", url, needs=needs)
    assert caught.value.__cause__ is None
    return caught.value.message


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgres+asyncpg"]
)
def test_a_url_is_accepted_as_people_paste_it(plain_role: str, scheme: str) -> None:
    pasted = plain_role.replace("postgresql://", f"{scheme}://")

    assert given.check_database("DATABASE_URL", pasted).url == plain_role


def test_the_name_of_a_server_holds_no_password(plain_role: str) -> None:
    checked = given.check_database("DATABASE_URL", plain_role)

    assert PASSWORD not in checked.name
    assert str(urlsplit(plain_role).port) in checked.name


def test_a_wrong_password_is_refused_with_server_user_and_reason(plain_role: str) -> None:
    parts = urlsplit(plain_role)

    message = refusal(plain_role.replace(PASSWORD, "wrong-password"))

    assert f"server {parts.hostname}:{parts.port}, user {parts.username}, database postgres" in message
    assert "password authentication failed" in message
    assert "wrong-password" not in message


def test_a_server_that_is_not_there_is_named() -> None:
    port = process.free_port()

    message = refusal(f"postgresql://bob:{PASSWORD}@127.0.0.1:{port}/shop")

    assert f"server 127.0.0.1:{port}, user bob, database shop" in message
    assert "Connection refused" in message


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "_WITHIN", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = refusal(f"postgresql://bob@127.0.0.1:{silent.getsockname()[1]}/shop")

    assert "timeout expired" in message


def test_a_database_that_does_not_exist_is_named(plain_role: str) -> None:
    assert 'database "no_such" does not exist' in refusal(plain_role.replace("/postgres", "/no_such"))


def test_a_missing_right_to_create_databases_is_said(plain_role: str) -> None:
    assert "lacks CREATEDB" in refusal(plain_role, needs="CREATEDB")


def test_a_target_server_without_a_superuser_is_said(plain_role: str) -> None:
    assert "no superuser" in refusal(plain_role, needs="SUPERUSER")


@pytest.mark.parametrize(
    "url", ["mysql://bob:pass-4711-word@host/shop", "postgresql://bob:pass-4711-word%zz@host/shop", "shop"]
)
def test_an_unreadable_url_is_not_repeated(url: str) -> None:
    message = refusal(url)

    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in message
    assert "4711" not in message


def test_a_queue_with_a_wrong_password_is_refused_with_server_user_and_reason() -> None:
    parts = urlsplit(os.environ[servers.REDIS])

    with pytest.raises(given.ServerRefused, match=f"server 127.0.0.1:{parts.port}, user default, .*invalid") as caught:
        given.check_redis("REDIS_URL", f"redis://:{PASSWORD}@127.0.0.1:{parts.port}/0")

    assert PASSWORD not in caught.value.message


@pytest.mark.parametrize("url", ["http://host/0", "redis://:pass-4711-word@host:port/0", "localhost:6379"])
def test_an_unreadable_queue_url_is_not_repeated(url: str) -> None:
    with pytest.raises(given.ServerRefused, match="redis://USER:PASSWORD@HOST:PORT/NUMBER") as caught:
        given.check_redis("REDIS_URL", url)

    assert "4711" not in caught.value.message


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env={**ours, **settings}, capture_output=True, text=True, check=False)


def test_the_tests_refuse_a_given_server_without_createdb(plain_role: str) -> None:
    ended = run("pytest", "--collect-only", "-q", "-p", "no:cacheprovider", __file__, DATABASE_URL=plain_role)

    assert ended.returncode == 4
    assert "DATABASE_URL cannot be used" in ended.stderr
    assert "lacks CREATEDB" in ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr


def test_the_tests_say_which_servers_they_use() -> None:
    port = urlsplit(os.environ[servers.PORTAL]).port

    ended = run("pytest", "--collect-only", "-p", "no:cacheprovider", __file__)

    assert f"portal PostgreSQL (given): server 127.0.0.1:{port}" in ended.stdout


@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL"])
def test_the_demo_starts_nothing_when_a_given_server_is_refused(tmp_path: Path, setting: str) -> None:
    scheme = "postgresql" if setting == "DATABASE_URL" else "redis"
    url = f"{scheme}://bob:{PASSWORD}@127.0.0.1:{process.free_port()}/0"

    ended = run("opsportal.local.demo", "--data", str(tmp_path), "--exit", **{setting: url})

    assert ended.returncode == 1
    assert f"{setting} cannot be used: server 127.0.0.1" in ended.stderr
    assert PASSWORD not in ended.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"lock"}


def test_a_second_demo_in_one_folder_is_refused_by_name(tmp_path: Path) -> None:
    lock = process.FolderLock(tmp_path)
    lock.acquire()

    ended = run("opsportal.local.demo", "--data", str(tmp_path), "--exit")

    lock.release()
    assert ended.returncode == 1
    assert f"Process {os.getpid()} already uses the data folder {tmp_path}" in ended.stderr
