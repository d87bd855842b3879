"""The private servers of the launcher: they live in a folder, keep what they are given, and leave with their parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from opsportal.local import account, postgres, process, programs, server, valkey
from tests.waiting import wait_for

FAST = {"fsync": "off"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[postgres.Postgres]:
    instance = postgres.Postgres(tmp_path / "pg", settings=FAST)
    yield instance
    instance.destroy()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[valkey.Valkey]:
    with valkey.Valkey(tmp_path / "valkey") as instance:
        yield instance


@pytest.fixture(params=["postgres", "valkey"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[server.PrivateServer]:
    instance = make(request.param, tmp_path / request.param)
    yield instance
    instance.stop()


def make(kind: str, folder: Path, *, port: int | None = None) -> server.PrivateServer:
    return (
        postgres.Postgres(folder, port=port, settings=FAST) if kind == "postgres" else valkey.Valkey(folder, port=port)
    )


def ask(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return None if row is None else row[0]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("identity", account.available(), ids=lambda each: each.name)
def test_postgres_starts_under_every_identity_that_this_user_has(tmp_path: Path, identity: account.Account) -> None:
    instance = postgres.Postgres(tmp_path / "pg", settings=FAST, account=identity)
    try:
        instance.start()

        assert ask(instance.url(), "SELECT current_user") == "portal"
    finally:
        instance.destroy()


def test_a_cluster_made_under_one_identity_opens_under_every_other(tmp_path: Path) -> None:
    identities = account.available()
    instance = postgres.Postgres(tmp_path / "pg", settings=FAST, account=identities[0])
    with instance:
        instance.create_database("kept")

    for each in (*identities, identities[0]):
        with postgres.Postgres(tmp_path / "pg", settings=FAST, account=each) as opened:
            assert ask(opened.url("kept"), "SELECT current_database()") == "kept"
    postgres.Postgres(tmp_path / "pg").destroy()


def test_a_stopped_server_keeps_data_password_and_port(database: postgres.Postgres) -> None:
    database.start()
    database.create_database("kept")
    before = database.url("kept")
    database.stop()

    database.start()

    assert database.url("kept") == before
    assert ask(before, "SELECT current_database()") == "kept"


def test_creating_a_database_twice_leaves_it_alone(database: postgres.Postgres) -> None:
    database.start()
    database.create_database("kept")
    with psycopg.connect(database.url("kept")) as connection:
        connection.execute("CREATE TABLE thing ()")

    database.create_database("kept")

    assert ask(database.url("kept"), "SELECT to_regclass('thing')::text") == "thing"


def test_a_queue_keeps_what_it_took_over_a_restart(queue: valkey.Valkey) -> None:
    with redis.Redis.from_url(queue.url()) as client:
        client.set("job", "waiting")
    queue.stop()

    queue.start()

    with redis.Redis.from_url(queue.url()) as client:
        assert client.get("job") == b"waiting"


def test_postgres_refuses_a_wrong_password(database: postgres.Postgres) -> None:
    database.start()

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=database.port, user="portal", password="wrong", dbname="postgres")


def test_valkey_refuses_a_wrong_password(queue: valkey.Valkey) -> None:
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=queue.port, password="wrong", retry=once) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_server_listens_on_loopback_only(database: postgres.Postgres) -> None:
    database.start()

    assert ask(database.url(), "SHOW listen_addresses") == "127.0.0.1"
    assert ask(database.url(), "SHOW unix_socket_directories") == ""


def test_the_password_is_readable_by_its_owner_only(either: server.PrivateServer, tmp_path: Path) -> None:
    either.start()

    for each in tmp_path.glob("*/password"):
        assert each.stat().st_mode & 0o777 == 0o600


def test_the_password_is_on_no_command_line(either: server.PrivateServer, tmp_path: Path) -> None:
    either.start()
    password = next(tmp_path.glob("*/password")).read_text().strip()

    listing = subprocess.run(["ps", "-p", str(either.pid), "-o", "args="], capture_output=True, text=True, check=True)

    assert password not in listing.stdout


def test_a_killed_server_starts_again_at_once(either: server.PrivateServer) -> None:
    either.start()
    port = either.port
    os.kill(either.pid, signal.SIGKILL)
    wait_for(lambda: not either.is_running(), what="the killed server to be gone")

    either.start()

    assert either.port == port
    assert listens(port)


def test_two_servers_run_side_by_side(tmp_path: Path) -> None:
    with make("valkey", tmp_path / "one") as one, make("valkey", tmp_path / "two") as two:
        assert one.port != two.port


def test_a_second_server_in_the_same_folder_is_refused_and_the_first_lives(
    either: server.PrivateServer, tmp_path: Path
) -> None:
    either.start()
    folder = next(tmp_path.glob("*/password")).parent
    second = make(folder.name, folder)

    with pytest.raises(process.FolderInUse, match=f"Process {os.getpid()} already uses the data folder"):
        second.start()

    assert either.is_running()


def test_a_kept_port_that_is_taken_is_exchanged(either: server.PrivateServer) -> None:
    either.start()
    before = either.port
    either.stop()
    with socket.create_server(("127.0.0.1", before)):
        either.start()

    assert either.port != before
    assert listens(either.port)


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        instance = make(kind, tmp_path / kind, port=port)

        with pytest.raises(process.LaunchFailed, match=f"did not start on port {port}"):
            instance.start()

    assert not instance.is_running()


PARENT = """
import sys
from pathlib import Path
from opsportal.local import postgres, valkey
made = {kind}(Path(sys.argv[1]))
made.start()
print(made.pid, made.port, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["postgres.Postgres", "valkey.Valkey"])
def test_a_killed_parent_leaves_no_server(tmp_path: Path, kind: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(kind=kind), tmp_path / "data"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid, port = (int(word) for word in parent.stdout.readline().split())
        assert listens(port)

        parent.kill()

    wait_for(lambda: not Path("/proc", str(pid)).exists(), what="the server to follow its parent")


def test_a_leftover_server_of_a_dead_parent_is_replaced(database: postgres.Postgres, tmp_path: Path) -> None:
    # A server that was started without the tie to its parent is what a dead parent leaves where there is no such tie.
    database.start()
    launch = database._how()
    database.stop()
    leftover = subprocess.Popen(
        [*launch.account.prefix, *launch.command], cwd=launch.folder, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: listens(database.port), what="the leftover to listen")

    database.start()

    assert leftover.wait(timeout=20) == 0
    assert ask(database.url(), "SELECT 1") == 1


def test_a_shell_in_the_data_folder_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "valkey"
    folder.mkdir()
    with subprocess.Popen(["sleep", "1000"], cwd=folder) as bystander:
        try:
            with make("valkey", folder):
                assert bystander.poll() is None
        finally:
            bystander.kill()


def test_an_interrupted_first_start_is_begun_anew(database: postgres.Postgres, tmp_path: Path) -> None:
    partial = tmp_path / "pg" / "cluster.partial"
    partial.mkdir(parents=True)
    (partial / "PG_VERSION").write_text("18\n")

    database.start()

    assert ask(database.url(), "SELECT 1") == 1
    assert not partial.exists()


def test_a_pid_file_whose_number_another_program_has_now_does_not_stop_the_start(
    database: postgres.Postgres, tmp_path: Path
) -> None:
    database.start()
    database.stop()
    stale = tmp_path / "pg" / "cluster" / "postmaster.pid"
    stale.write_text(f"{os.getppid()}\n{stale.parent}\n1\n1\n\n127.0.0.1\n\n")

    database.start()

    assert ask(database.url(), "SELECT 1") == 1


def test_a_folder_of_programs_that_holds_none_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTAL_PG_BINDIR", str(tmp_path))

    with pytest.raises(programs.NoPostgres, match=f"PORTAL_PG_BINDIR={tmp_path} holds no postgres"):
        postgres.find_binaries()


def test_what_a_server_says_when_it_cannot_start_is_in_the_message(tmp_path: Path) -> None:
    instance = postgres.Postgres(tmp_path / "pg", settings={"no_such_setting": "1"})

    with pytest.raises(process.LaunchFailed, match="no_such_setting"):
        instance.start()
