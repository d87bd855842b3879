"""A private PostgreSQL for one rehearsal, as PORTAL_SCRATCH names it: made when it begins, gone when it has ended."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from opsportal.local import postgres, process

OWNER = "opsportal_scratch"
PREFIX = "opsportal-scratch-"
LEFT_AFTER_S = 3_600
SETTINGS = {
    # What a copy holds is worth nothing, so that nothing of it need survive a crash.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "20",
    "shared_buffers": "32MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


@contextmanager
def server() -> Iterator[tuple[str, Path]]:
    """The superuser's URL of a fresh server, and the folder of its programs. Raises LaunchFailed with the reason."""
    _clear_up()
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        private = postgres.Postgres(Path(folder) / "server", settings=SETTINGS, user=OWNER)
        try:
            private.start()
            yield private.url(), postgres.find_binaries()
        finally:
            private.destroy()


def clients() -> Path | None:
    """The folder of pg_dump and pg_restore, as PORTAL_CLIENTS names it: as new as the private servers, or None for the PATH's.

    A worker whose environments name servers for copies needs no server's programs.
    """
    with suppress(process.LaunchFailed):
        found = postgres.find_binaries()
        return found if (found / "pg_dump").exists() else None
    return None


def _clear_up() -> None:
    """Remove the servers' folders that killed workers left. A server ends with its worker, and its lock is free then."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, process.FolderInUse):
            if folder.stat().st_uid != os.geteuid() or time.time() - folder.stat().st_mtime < LEFT_AFTER_S:
                continue
            if (data := folder / "server").exists():
                lock = process.FolderLock(data)
                lock.acquire()
                try:
                    postgres.Postgres(data, user=OWNER).destroy()
                finally:
                    lock.release()
            shutil.rmtree(folder, ignore_errors=True)
