"""Folders for what a worker has in hand. Those of a killed one are known by their locks, which the kernel freed, and removed."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

PREFIX: Final = "opsportal-"
LOCK: Final = ".lock"


@contextmanager
def made(kind: str) -> Iterator[Path]:
    """A folder that is gone at the end. Its lock lies beside it, because another account may own the folder meanwhile."""
    temporary = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}-", ignore_cleanup_errors=True)
    folder = Path(temporary.name)
    with _held(folder), temporary:
        yield folder


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = Path(f"{folder}{LOCK}")
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, _identity(folder))  # last: what is empty may not be held yet, and nobody takes it
        try:
            yield
        finally:
            if not os.path.lexists(folder):
                lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def sweep() -> int:
    """Remove the folders of this account whose process is gone, and return how many those were.

    A folder is removed only where the lock beside it is ours, free, and names it: never what a link leads to, and nothing that
    only has such a name.
    """
    count = 0
    for lock in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*{LOCK}")):
        try:
            count += _swept(lock)
        except BlockingIOError:
            continue  # its process lives
        except OSError as error:
            logger.warning("%s is left: %s", lock.name.removesuffix(LOCK), error.strerror)
    return count


def _swept(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or not facts.st_size:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = Path(str(lock).removesuffix(LOCK))
        found = False
        with suppress(FileNotFoundError):
            found = _identity(folder) == os.read(descriptor, facts.st_size)
        if found:
            _remove(folder)
        lock.unlink(missing_ok=True)
        return found
    finally:
        os.close(descriptor)


def _identity(folder: Path) -> bytes:
    """The folder itself, whoever owns it, and not a later one or a link of its name."""
    return str(os.lstat(folder).st_ino).encode()


def _remove(folder: Path) -> None:
    """Remove it with what it holds, also folders that their owner closed."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            if not os.path.islink(path := os.path.join(parent, name)):
                os.chmod(path, 0o700)
    shutil.rmtree(folder)
