"""What the demo's processes share: the servers, private or given, and the environment that names them."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from opsportal.local import given, postgres, process, server, valkey

PORTAL_DATABASE = "opsportal"

S = TypeVar("S", bound=server.PrivateServer)


class World:
    """The servers of one demo. Given ones (DATABASE_URL, REDIS_URL) are checked and used; what is not given is private."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._private: dict[str, server.PrivateServer] = {}
        self._stack = contextlib.ExitStack()
        self.environment: dict[str, str] = {}
        self.target_url = ""

    def start(self, *, tell: Callable[[str], None]) -> None:
        """Check the given servers first, then start the private ones. Raises LaunchFailed (a given one: ServerRefused)."""
        database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        database = given.check_database("DATABASE_URL", database_url) if database_url else None
        queue = given.check_redis("REDIS_URL", redis_url) if redis_url else None
        tell("Starting the private servers …")
        if database is None:
            cluster = self._begin("portal", postgres.Postgres(self._data / "postgres-portal"))
            cluster.create_database(PORTAL_DATABASE)
            database = given.check_database("DATABASE_URL", cluster.url(PORTAL_DATABASE))
        targets = self._begin("targets", postgres.Postgres(self._data / "postgres-targets"))
        if queue is None:
            queue = given.check_redis("REDIS_URL", self._begin("queue", valkey.Valkey(self._data / "valkey")).url())
        tell(f"Portal database: {'given' if database_url else 'private'}, {database.name}")
        tell(f"Target databases: private, server {targets.host}:{targets.port}")
        tell(f"Queue: {'given' if redis_url else 'private'}, {queue.name}")
        self.target_url = targets.url()
        self.environment = {
            **os.environ,
            "DATABASE_URL": database.url,
            "REDIS_URL": queue.url,
            "SECRET_KEY": process.secret_in(self._data / "secret-key", lambda: secrets.token_urlsafe(64)),
            "PORTAL_SEALING_KEYS": process.secret_in(self._data / "sealing-key", _sealing_key),
            "PORTAL_MODE": "demo",
            "PORTAL_DATA": str(self._data),
            "PORTAL_PROJECT_ROOTS": ",".join(_project_roots()),
            "PYTHONUNBUFFERED": "1",
        }

    def revive(self, *, tell: Callable[[str], None]) -> None:
        """Start a private server again that has ended."""
        for name, each in self._private.items():
            if not each.is_running():
                tell(f"The private {each.title} server ({name}) ended. Starting it again.")
                try:
                    each.start()
                except process.LaunchFailed as error:
                    tell(error.message)

    def stop(self) -> None:
        """Stop the private servers, the last started first."""
        self._stack.close()

    def _begin(self, name: str, instance: S) -> S:
        self._stack.callback(instance.stop)
        instance.start()
        self._private[name] = instance
        return instance


def _project_roots() -> list[str]:
    """Return where the demo's Alembic projects lie: the story's own, and a published package's; the user's roots stay."""
    published = importlib.util.find_spec("optuna")
    return [
        *filter(None, [os.environ.get("PORTAL_PROJECT_ROOTS")]),
        str(Path(__file__).resolve().parent.parent / "demo"),
        *(published.submodule_search_locations or [] if published else []),
    ]


def _sealing_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
