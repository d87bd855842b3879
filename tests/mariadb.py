"""A private MariaDB server for the tests that want one, started when the first of them asks."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import pymysql

from opsportal.local import account as accounts
from opsportal.local import process, server

USER = "portal"
NOT_INSTALLED = (
    "The MariaDB tests did not run: no mariadbd was found. "
    "Install mariadb-server (Debian, Ubuntu: apt-get install mariadb-server)."
)
# Durability is not what the tests are about.
_SETTINGS = ("innodb-flush-log-at-trx-commit=0", "innodb-buffer-pool-size=32M", "innodb-doublewrite=0", "skip-log-bin")


def program() -> str | None:
    """The server's program, which Debian keeps where ordinary users do not look."""
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/libexec")


class Mariadb(server.PrivateServer):
    """A MariaDB in ``data``: loopback only, a random password."""

    title = "MariaDB"
    stop_signals = (signal.SIGTERM, signal.SIGKILL)
    passing_trouble = re.compile("Unable to lock")

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._account = accounts.best()

    def url(self, database: str, *, user: str = USER, password: str = "") -> str:
        """The URL of ``database``, by default of the superuser."""
        return f"mysql+pymysql://{user}:{quote(password or self._password)}@{self.host}:{self._port}/{database}"

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Execute as the superuser, each statement on its own; return the rows of the last."""
        with (
            pymysql.connect(
                host=self.host, port=self._port, user=USER, password=self._password, database=database, autocommit=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def destroy(self) -> None:
        """Stop the server and remove all its data."""
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)

    @property
    def _cluster(self) -> Path:
        return self._data / "cluster"

    def _prepare(self) -> None:
        if self._cluster.exists():
            return
        self._cluster.mkdir()
        self._account.take(self._cluster)
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        made = subprocess.run(
            [*self._account.prefix, "mariadb-install-db", "--no-defaults", f"--datadir={self._cluster}", *options],
            capture_output=True,
            check=False,
            user=self._account.uid,
            group=self._account.gid,
            extra_groups=self._account.groups,
        )
        if made.returncode:
            raise process.LaunchFailed(f"mariadb-install-db failed:\n{made.stderr.decode(errors='replace')}")
        first = self._cluster / "first.sql"
        first.write_text(
            f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{self._password}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        )
        self._account.take(first)

    def _how(self) -> server.Launch:
        options = [
            f"--datadir={self._cluster}",
            f"--port={self._port}",
            f"--bind-address={self.host}",
            f"--socket={self._cluster}/socket",
            f"--pid-file={self._cluster}/pid",
            f"--init-file={self._cluster}/first.sql",
            *(f"--{setting}" for setting in _SETTINGS),
        ]
        return server.Launch(
            command=[program() or "mariadbd", "--no-defaults", *options],
            folder=self._cluster,
            environment={"PATH": "/usr/bin:/bin:/usr/sbin"},
            account=self._account,
        )

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (pymysql.Error, OSError):
            return False
        return True


def fresh_database(running: Mariadb, hint: str = "t") -> str:
    """Make a database with a user who has rights in it and nowhere else; return its URL."""
    name, password = f"{hint}_{secrets.token_hex(6)}", secrets.token_hex(12)
    running.execute(
        f"CREATE DATABASE {name}",
        f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'",
        f"GRANT ALL ON {name}.* TO {name}@'%'",
    )
    return running.url(name, user=name, password=password)
