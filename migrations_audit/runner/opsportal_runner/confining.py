"""What this process may use and hold, with whom it ends, and what it leaves behind."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import sys
import threading

from . import telling

OPEN_FILES = 1_024
FILE_BYTES = 1024**3
FIRST = 1  # the first process of a namespace


def die_with(supervisor: int, lifeline: int) -> None:
    """End this process and its group when the supervisor ends, however it ends. Take SIGTERM back, which bwrap ignores."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != (supervisor or FIRST):
        telling.leave(telling.UNHEARD)

    def watch() -> None:
        os.read(lifeline, 1)  # returns when the supervisor's end is closed
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def left_behind(supervisor: int) -> int:
    """How many processes the project leaves in a namespace of our own. Elsewhere the supervisor looks for them."""
    if supervisor:
        return 0
    count = 0
    for pid in set(filter(str.isdigit, os.listdir("/proc"))) - {str(FIRST), str(os.getpid())}:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stat:
            count += stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    return count


def confine(memory_bytes: int, processes: int) -> None:
    """Limit this process and all that it starts, before any code of the project is loaded."""
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NPROC, processes),  # counts the whole account; not enforced for root
        (resource.RLIMIT_AS, memory_bytes),
    ):
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (value, value))


def first_line(descriptor: int) -> bytes:
    """The request, and nothing of what the supervisor says later on the same pipe."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(descriptor, 65_536)
        if not piece:
            telling.leave(telling.UNHEARD)
        line += piece
    return bytes(line)


def moved_up(descriptor: int) -> int:
    """A copy out of reach of code that closes the low descriptors, and closed in every program that the project starts."""
    lowest = min(OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0]) - 64
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(descriptor)
    return high
