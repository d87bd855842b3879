"""A private Valkey server in a folder: loopback only, a random password, an append-only file, gone when its parent is gone."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from opsportal.local import process, programs, server

_PROGRAMS = frozenset({"valkey-server", "redis-server"})


def find_binary() -> Path:
    """Return the server program; see opsportal.local.programs."""
    return programs.find_valkey()


class Valkey(server.PrivateServer):
    """A Valkey server that keeps its data in ``data``."""

    title = "Valkey"
    stop_signals = (signal.SIGTERM,)
    passing_trouble = re.compile("(?!)")

    def url(self, db: int = 0) -> str:
        """Return the URL of database number ``db``. It holds the password."""
        return f"redis://:{self._password}@{self.host}:{self._port}/{db}"

    def _prepare(self) -> None:
        process.stop_leftovers(self._data, programs=_PROGRAMS, signals=self.stop_signals)

    def _how(self) -> server.Launch:
        # The password goes through a private file: a command line can be read by every user of the machine.
        configuration = self._data / "valkey.conf"
        process.write_private(
            configuration,
            f"bind {self.host}\nport {self._port}\nrequirepass {self._password}\n"
            'appendonly yes\nappendfsync everysec\nsave ""\ndir .\ndaemonize no\n',
        )
        return server.Launch(command=[find_binary(), configuration], folder=self._data, environment=dict(os.environ))

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=2, retry=Retry(NoBackoff(), 0)) as client:
                client.ping()
        except redis.RedisError:
            return False
        return True
