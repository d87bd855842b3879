"""A private PostgreSQL server in a folder: loopback only, a random password, gone when its parent is gone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from opsportal.local import account as accounts
from opsportal.local import process, programs, server

USER = "portal"
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_PROGRAMS = frozenset({"postgres", "initdb"})
_BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")  # independent of the system's


def find_binaries() -> Path:
    """Return the folder with ``postgres`` and ``initdb``; see opsportal.local.programs."""
    return programs.find_postgres()


class Postgres(server.PrivateServer):
    """A PostgreSQL cluster in ``data``.

    ``settings``: server settings, as for ``postgres -c``. ``account``: see opsportal.local.account; by default the best one.
    ``user``: the superuser's name.
    """

    title = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast shutdown, then immediate shutdown
    passing_trouble = re.compile("lock file|shared memory")  # a killed server's remains, for a moment

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        account: accounts.Account | None = None,
        user: str = USER,
    ) -> None:
        super().__init__(data, port=port)
        self._user = user
        self._settings = dict(settings or {})
        self._account = account or accounts.best()
        self._binaries = Path()
        self._cluster = Path()

    def url(self, database: str = "postgres") -> str:
        """Return the superuser's URL of ``database``. It holds the password."""
        return f"postgresql://{self._user}:{self._password}@{self.host}:{self._port}/{database}"

    def create_database(self, name: str) -> None:
        """Create the empty database ``name`` unless it is there."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def destroy(self) -> None:
        """Stop the server and remove all its data."""
        self.stop()
        if self._data.exists():
            place = self._place()
            shutil.rmtree(self._data)
            shutil.rmtree(place, ignore_errors=True)  # often the same folder

    def _prepare(self) -> None:
        binaries = find_binaries()
        place = self._reachable_place()
        self._binaries = binaries if self._account.can_reach(binaries) else _copied(binaries, place)
        self._cluster = place / "cluster"
        if not self._cluster.exists():
            self._initdb(place)
        self._account.take(self._cluster)
        process.stop_leftovers(self._cluster, programs=_PROGRAMS, signals=self.stop_signals)
        if sys.platform.startswith("linux"):
            # Nobody works in the cluster any more, so this file is a dead server's; its pid may be another program's by now.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _how(self) -> server.Launch:
        settings = {
            "listen_addresses": self.host,
            "unix_socket_directories": "",  # a deep data folder would exceed the length that a socket path may have
            "port": str(self._port),
            "logging_collector": "off",
            **self._settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return server.Launch(
            command=[self._binaries / "postgres", "-D", self._cluster, *options],
            folder=self._cluster,
            environment=_environment(),
            account=self._account,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _place(self) -> Path:
        pointer = self._data / "place"
        return Path(pointer.read_text().strip()) if pointer.exists() else self._data

    def _reachable_place(self) -> Path:
        """Return the folder for the cluster: ``data``, or one elsewhere when the server's account cannot walk to that."""
        place = self._place()
        if not place.exists():
            raise process.LaunchFailed(
                f"The cluster of {self._data} was kept in {place}, which has gone. Remove {self._data} to begin anew."
            )
        if self._account.can_reach(place):
            return place
        elsewhere = Path(tempfile.mkdtemp(prefix="opsportal-", dir="/var/tmp"))
        elsewhere.chmod(0o711)
        if (place / "cluster").exists():
            shutil.move(place / "cluster", elsewhere / "cluster")
        (self._data / "place").write_text(f"{elsewhere}\n")
        return elsewhere

    def _initdb(self, place: Path) -> None:
        """Make the cluster; an interrupted attempt leaves only ``cluster.partial``, which the next one removes."""
        partial = place / "cluster.partial"
        process.stop_leftovers(partial, programs=_PROGRAMS, signals=(signal.SIGKILL,))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        self._account.take(partial)
        password = place / "cluster.password"
        process.write_private(password, self._password + "\n")
        self._account.take(password)
        modern = programs.postgres_major(self._binaries) >= 17
        command: list[str | Path] = [self._binaries / "initdb", "-D", partial, "-U", self._user, "--pwfile", password]
        command += ["-A", "scram-sha-256", "-E", "UTF8", *(_BUILTIN_LOCALE if modern else ["--locale=C.UTF-8"])]
        try:
            made = subprocess.run(
                [*self._account.prefix, *command],
                cwd=partial,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=self._account.groups,
                start_new_session=True,
                preexec_fn=process.die_with_parent(signal.SIGKILL),
            )
        finally:
            password.unlink()
        if made.returncode:
            said = made.stderr.decode(errors="replace").strip()
            raise process.LaunchFailed(f"initdb of {self._binaries} failed in {place}:\n{said}")
        partial.rename(self._cluster)


def _environment() -> dict[str, str]:
    # Neither PGPORT, PGDATA and the like of the caller's shell nor a worker's secrets are the private server's business.
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _copied(binaries: Path, place: Path) -> Path:
    """Copy the programs to ``place``, where the server's account can read them, and return the copied folder."""
    copy = place / f"programs-{programs.postgres_major(binaries)}"
    if not copy.exists():
        partial = place / "programs.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(binaries.parent, partial, symlinks=True)
        partial.rename(copy)
    return copy / binaries.name
