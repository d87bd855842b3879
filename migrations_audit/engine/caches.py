"""Folders that a worker can make again: each under a lock of its own, only the last used ones kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from migrations_audit.errors import PortalError

PAUSE_S: Final = 0.05
UNFINISHED: Final = ".unfinished"
USED: Final = ".used"
"""Beside a folder: a file whose time says when the folder was last used."""


class NoCache(PortalError):
    """PORTAL_CACHE is not a folder in which this worker can keep things. Set it to one that belongs to the worker."""

    code = "no_cache"


class CacheBusy(PortalError):
    """Another process of this worker has been at work on the same thing for too long. Try again."""

    code = "cache_busy"


def folder_in(cache: str, kind: str, *, mode: int = 0o700) -> Path:
    """The folder for one kind of thing below PORTAL_CACHE, made if it is absent. Raises NoCache."""
    if not cache:
        raise NoCache("PORTAL_CACHE is not set on this worker. Set it to a folder that belongs to the worker.")
    folder = Path(cache) / kind
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            raise NoCache(
                f"{folder} belongs to another user than this worker. Set PORTAL_CACHE to a folder of its own."
            )
    except OSError as error:
        raise NoCache(
            f"{folder} cannot be used ({error.strerror}). Set PORTAL_CACHE to a folder of the worker."
        ) from error
    return folder


@contextmanager
def locked(folder: Path, *, within_s: float) -> Iterator[int]:
    """Hold the lock of ``folder``, across processes, and yield its descriptor. Raises CacheBusy after ``within_s``."""
    descriptor = os.open(f"{folder}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        gives_up_at = time.monotonic() + within_s
        while not _taken(descriptor):
            if time.monotonic() >= gives_up_at:
                raise CacheBusy
            time.sleep(PAUSE_S)
        yield descriptor
    finally:
        os.close(descriptor)


def note_use(folder: Path) -> None:
    """Remember that ``folder`` is used now."""
    Path(f"{folder}{USED}").touch(mode=0o600)


def keep_last_used(parent: Path, *, count: int, idle_s: float = 0) -> None:
    """Remove the folders below ``parent`` beyond the ``count`` last used, and whatever was left unfinished.

    What was used within ``idle_s``, and what somebody is at work on, stays.
    """
    folders = [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    whole = sorted((path for path in folders if path.suffix != UNFINISHED), key=_used_at, reverse=True)
    for path in whole[count:]:
        if time.time() - _used_at(path) >= idle_s:
            _remove(path, lock_of=path)
    for path in folders:
        if path.suffix == UNFINISHED:
            _remove(path, lock_of=path.with_suffix(""))


def _remove(path: Path, *, lock_of: Path) -> None:
    with suppress(CacheBusy), locked(lock_of, within_s=0):
        shutil.rmtree(path, ignore_errors=True)


def _used_at(folder: Path) -> float:
    try:
        return Path(f"{folder}{USED}").stat().st_mtime
    except OSError:
        return 0.0


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
