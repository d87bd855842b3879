"""A private PostgreSQL for one rehearsal, as PORTAL_SCRATCH names it: made when it begins, gone when it has ended."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opsportal.local import postgres

OWNER = "opsportal_scratch"
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
    with tempfile.TemporaryDirectory(prefix="opsportal-scratch-", ignore_cleanup_errors=True) as folder:
        private = postgres.Postgres(Path(folder) / "server", settings=SETTINGS, user=OWNER)
        try:
            private.start()
            yield private.url(), postgres.find_binaries()
        finally:
            private.destroy()
