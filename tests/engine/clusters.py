"""Clusters that are related: physical copies, standbys, an address that leads to one and later to another, a real PgBouncer."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from opsportal.local import account as accounts
from opsportal.local import postgres, process, server
from tests.waiting import wait_for

NO_PGBOUNCER = (
    "The tests with a real PgBouncer did not run: no pgbouncer was found. "
    "Install it (Debian, Ubuntu: apt-get install pgbouncer)."
)
T = TypeVar("T", bound=postgres.Postgres)
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "40"}


class Copy(postgres.Postgres):
    """A physical copy of a running cluster, made by pg_basebackup: a primary of its own, or a standby that follows.

    It has the password of its source.
    """

    def __init__(self, data: Path, source: postgres.Postgres, *, standby: bool = False) -> None:
        super().__init__(data, settings=SETTINGS)
        self._source = source
        self._standby = standby
        with_password_of(source, data)

    def promote(self) -> None:
        """Make it the primary, on a timeline of its own."""
        execute(self.url(), "SELECT pg_promote(wait => true)")

    def pause_replay(self) -> None:
        """Receive from now on and show nothing of it."""
        execute(self.url(), "SELECT pg_wal_replay_pause()")

    def has_replayed(self, url: str) -> bool:
        """Whether it shows all that the primary behind ``url`` has written so far."""
        (position,) = one(url, "SELECT pg_current_wal_flush_lsn()::text")
        (shown,) = one(self.url(), f"SELECT pg_last_wal_replay_lsn() >= '{position}'::pg_lsn")
        return bool(shown)

    def _initdb(self, place: Path) -> None:
        partial = place / "cluster.partial"
        partial.mkdir(mode=0o700)
        self._account.take(partial)
        command: list[str | Path] = [self._binaries / "pg_basebackup", "-D", partial, "-h", self.host]
        command += ["-p", str(self._source.port), "-U", postgres.USER, "--checkpoint=fast", "--no-sync", "-X", "stream"]
        subprocess.run(
            [*self._account.prefix, *command, *(["-R"] if self._standby else [])],
            cwd=partial,
            env={**os.environ, "PGPASSWORD": self._password},
            check=True,
            capture_output=True,
            user=self._account.uid,
            group=self._account.gid,
            extra_groups=self._account.groups,
        )
        partial.rename(self._cluster)


class Clusters:
    """The clusters of one test, all with one password. What was started ends with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[postgres.Postgres] = []

    def primary(self, name: str = "primary") -> postgres.Postgres:
        """A fresh cluster."""
        made = postgres.Postgres(self._folder / name, settings=SETTINGS)
        if self._started:
            with_password_of(self._started[0], self._folder / name)
        return self._start(made)

    def clone(self, source: postgres.Postgres) -> Copy:
        """A copy that is a primary of its own."""
        return self._start(Copy(self._folder / f"copy{len(self._started)}", source))

    def standby(self, source: postgres.Postgres) -> Copy:
        """A copy that follows its source."""
        copy = self._start(Copy(self._folder / f"copy{len(self._started)}", source, standby=True))
        wait_for(lambda: copy.has_replayed(source.url()), what="the standby to follow")
        return copy

    def destroy(self) -> None:
        for each in self._started:
            each.destroy()

    def _start(self, made: T) -> T:
        self._started.append(made)
        made.start()
        return made


class Address:
    """A loopback port that leads to one server, and later to another one, as a name or a virtual address does."""

    def __init__(self, to: postgres.Postgres) -> None:
        self._to = to.port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, other: server.PrivateServer) -> None:
        """Lead to ``other`` from now on; open connections break."""
        self._to = other.port
        self._close_open()

    def url(self, of: postgres.Postgres, database: str = "postgres") -> str:
        """The URL of ``of`` at this address."""
        return of.url(database).replace(f":{of.port}/", f":{self.port}/")

    def close(self) -> None:
        self._open.append(self._listener)
        self._close_open()

    def _close_open(self) -> None:
        closing, self._open = self._open, []
        for each in closing:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    upstream = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    client.close()
                    continue
                self._open += [client, upstream]
                for source, sink in ((client, upstream), (upstream, client)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class PgBouncer(server.PrivateServer):
    """A real PgBouncer in front of ``behind``; ``mode`` is its pool_mode."""

    title = "PgBouncer"
    stop_signals = (signal.SIGTERM,)
    passing_trouble = re.compile("nothing that another attempt could help")

    def __init__(self, data: Path, program: str, behind: postgres.Postgres, *, mode: str) -> None:
        super().__init__(data)
        self._program = program
        self._behind = behind
        self._mode = mode
        self._account = accounts.best()
        self._place = Path(tempfile.mkdtemp(prefix="opsportal-pgbouncer-", dir="/var/tmp"))
        with_password_of(behind, data)

    def url(self, database: str = "postgres") -> str:
        """The URL of ``database`` through the pooler."""
        return self._behind.url(database).replace(f":{self._behind.port}/", f":{self.port}/")

    def destroy(self) -> None:
        self.stop()
        shutil.rmtree(self._place)

    def _prepare(self) -> None:
        (self._place / "users.txt").write_text(f'"{postgres.USER}" "{self._password}"\n')

    def _how(self) -> server.Launch:
        lines = [
            "[databases]",
            f"* = host={self.host} port={self._behind.port}",
            "[pgbouncer]",
            f"listen_addr = {self.host}",
            f"listen_port = {self._port}",
            "unix_socket_dir =",
            f"pool_mode = {self._mode}",
            "auth_type = scram-sha-256",
            f"auth_file = {self._place / 'users.txt'}",
            "ignore_startup_parameters = extra_float_digits,options",
        ]
        (self._place / "pgbouncer.ini").write_text("\n".join([*lines, ""]))
        self._place.chmod(0o700)
        self._account.take(self._place)
        return server.Launch(
            command=[self._program, self._place / "pgbouncer.ini"],
            folder=self._place,
            environment={"PATH": os.environ["PATH"]},
            account=self._account,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def with_password_of(source: postgres.Postgres, data: Path) -> None:
    """Let the server in ``data`` have the password of a running one."""
    found = re.search(r"://[^:]+:([^@]+)@", source.url())
    assert found is not None
    data.mkdir(parents=True, exist_ok=True)
    process.write_private(data / "password", found[1] + "\n")


@contextlib.contextmanager
def pooled(folder: Path, behind: postgres.Postgres, *, mode: str) -> Iterator[PgBouncer]:
    """A PgBouncer in front of a cluster. Its absence is a failure where PORTAL_REQUIRE_SERVERS=1."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None and os.environ.get("PORTAL_REQUIRE_SERVERS") == "1":
        pytest.fail(NO_PGBOUNCER)
    if program is None:
        pytest.skip(NO_PGBOUNCER)
    pooler = PgBouncer(folder / mode, program, behind, mode=mode)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.destroy()


def execute(url: str, *statements: str) -> None:
    """Execute the statements, each in its own transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def one(url: str, query: str) -> tuple[object, ...]:
    """The only row of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        (row,) = connection.execute(query.encode()).fetchall()
    return tuple(row)
