"""A pytest plugin: real PostgreSQL clusters (portal, target) and a Valkey for the whole session, before any setting is read.

A server that the environment already names (DATABASE_URL, PORTAL_TEST_TARGET_URL, REDIS_URL) is used instead, after a check.
The processes of pytest-xdist inherit what the controller set.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from opsportal.local import given, postgres, process, valkey

PORTAL = "DATABASE_URL"
TARGET = "PORTAL_TEST_TARGET_URL"
REDIS = "REDIS_URL"

# Durability of the operating system's kind is not what the tests are about; kill -9 of a server loses nothing without it.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}

_running = contextlib.ExitStack()
_used: list[str] = []


@dataclass(frozen=True)
class TargetServer:
    """The cluster on which tests make their target databases."""

    admin_url: str

    def url(self, database: str) -> str:
        """Return the superuser's URL of ``database``."""
        base, _, query = self.admin_url.partition("?")
        server = base.split("://", 1)[1].partition("/")[0]
        return f"postgresql://{server}/{database}" + (f"?{query}" if query else "")

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Open an autocommit connection of the superuser."""
        return psycopg.connect(make_conninfo(self.admin_url, connect_timeout=10), autocommit=True)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Start the servers. A wrapper, because pytest-django reads the settings in this very hook."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        try:
            _start()
        except process.LaunchFailed as error:
            _stop()
            raise pytest.UsageError(error.message) from None
    else:
        os.environ[REDIS] = _own_redis_database(os.environ[REDIS], os.environ["PYTEST_XDIST_WORKER"])
    return (yield)


def _own_redis_database(url: str, xdist_worker: str) -> str:
    """Each pytest process has its own queues: a Celery worker of one must not take the messages of another."""
    server, _, _ = url.rpartition("/")
    return f"{server}/{1 + int(xdist_worker.removeprefix('gw'))}"


def pytest_report_header() -> list[str]:
    """Say which servers this session uses."""
    return _used


def pytest_unconfigure() -> None:
    """Stop the servers, also after Ctrl-C."""
    _stop()


def _start() -> None:
    atexit.register(_stop)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a build that is cancelled cleans up like Ctrl-C
    folder: Path | None = None
    if not all(os.environ.get(name) for name in (PORTAL, TARGET, REDIS)):
        folder = Path(tempfile.mkdtemp(prefix="opsportal-tests-"))
        folder.chmod(0o711)  # where root's server has to run as another user, that one must be able to walk in
        _running.callback(shutil.rmtree, folder)
    _use_database(PORTAL, folder, "portal", needs="CREATEDB")
    _use_database(TARGET, folder, "target", needs="SUPERUSER")
    _use_redis(folder)
    os.environ["SECRET_KEY"] = secrets.token_urlsafe(50)
    os.environ["PORTAL_SEALING_KEYS"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    os.environ["PORTAL_MODE"] = "test"


def _stop() -> None:
    atexit.unregister(_stop)
    _running.close()


def _use_database(setting: str, folder: Path | None, name: str, *, needs: given.Need) -> None:
    url, kind = os.environ.get(setting), "given"
    if not url:
        assert folder is not None
        server = postgres.Postgres(folder / name, settings=_SETTINGS)
        _running.callback(server.destroy)
        server.start()
        url, kind = server.url(), "private"
    checked = given.check_database(setting, url, needs=needs)
    os.environ[setting] = checked.url
    _used.append(f"{name} PostgreSQL ({kind}): {checked.name}")


def _use_redis(folder: Path | None) -> None:
    url, kind = os.environ.get(REDIS), "given"
    if not url:
        assert folder is not None
        server = valkey.Valkey(folder / "valkey")
        _running.callback(server.stop)
        server.start()
        url, kind = server.url(), "private"
    checked = given.check_redis(REDIS, url)
    _used.append(f"Valkey ({kind}): {checked.name}")
    os.environ[REDIS] = checked.url
