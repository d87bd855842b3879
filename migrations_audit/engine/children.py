"""The runner child as an operating system process: started, signalled, ended together with all that it left behind."""

from __future__ import annotations

import os
import secrets
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from migrations_audit.engine import launch
from migrations_audit.errors import PortalError
from migrations_audit.states import Isolation

PROGRAM: Final = Path(__file__).parent.parent / "runner"
"""A folder, started as one: Python runs its ``__main__.py``."""
INHERITED: Final = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ")
MARK: Final = "OPSPORTAL_RUN"
"""The variable by which a process of a run is recognised, also one that made itself a daemon."""

ENDS_WITHIN_S: Final = 10.0
MOST_LOOKS: Final = 200
SIGNALLED: Final = 128
"""bwrap ends with this plus the number of the signal that ended its child, as a shell does."""


class CannotStart(PortalError):
    """The project's interpreter could not be started."""

    code = "interpreter_not_started"


class Child:
    """One running runner. The public descriptors are this side of its pipes; ``close`` ends everything."""

    def __init__(self, *, interpreter: str, confinement: launch.Confinement, place: launch.Place) -> None:
        """Start the runner in ``place``, in a session of its own. Raises CannotStart."""
        self._mark = secrets.token_hex(16)
        with ExitStack() as stack:
            request, self.request = _pipe(stack)
            self.events, events = _pipe(stack)
            lifeline, self._lifeline = _pipe(stack)
            self.stdout, stdout = _pipe(stack)
            self.stderr, stderr = _pipe(stack)
            # In a namespace of its own the runner's parent is that namespace's first process, and dies with it.
            supervisor = 0 if confinement.level is Isolation.BUBBLEWRAP else os.getpid()
            try:
                started = launch.start(
                    # Isolated: no PYTHON* variable, no working directory on the path, so that a folder of the project named
                    # alembic does not hide the package. What the project's own prepend_sys_path adds still works.
                    [
                        interpreter,
                        "-I",
                        "-u",
                        "-X",
                        "utf8",
                        str(PROGRAM),
                        *map(str, (request, events, lifeline, supervisor)),
                    ],
                    program=PROGRAM,
                    confinement=confinement,
                    place=place,
                    environment=self._environment(place.home),
                    outputs=(stdout, stderr),
                    pass_fds=(request, events, lifeline),
                )
            except OSError as error:
                raise CannotStart(
                    f"{error.filename or interpreter} could not be started ({error.strerror}). Correct the project's interpreter."
                ) from error
            stack.pop_all()
        self._process, self._init = started.process, started.init
        self._wrapped = confinement.level is Isolation.BUBBLEWRAP
        self._open = {self.request, self.events, self._lifeline, self.stdout, self.stderr}
        for descriptor in (request, events, lifeline, stdout, stderr):
            os.close(descriptor)
        for descriptor in (self.request, self.events, self.stdout, self.stderr):
            os.set_blocking(descriptor, False)

    def _environment(self, home: str) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {**inherited, "PATH": os.environ.get("PATH", os.defpath), "HOME": home, "TMPDIR": home, MARK: self._mark}

    def exit_code(self) -> int | None:
        """Return the runner's code, negative for a signal, or None while it runs."""
        code = self._process.poll()
        if self._wrapped and code is not None and SIGNALLED < code <= SIGNALLED + signal.NSIG:
            return SIGNALLED - code
        return code

    def signal(self, number: signal.Signals) -> None:
        """Signal the runner's process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def kill_leftovers(self) -> int:
        """Kill what the runner started and left behind, wherever it hides; return how many processes that were.

        Those of a namespace are not counted: they end together with its first process.
        """
        if self._init is not None:
            self._end_namespace(self._init)
            return 0
        found: set[int] = set()
        for _ in range(MOST_LOOKS):  # again, because a fork may be faster than one look; what is stopped forks no more
            fresh = set(self._leftovers()) - found
            if not fresh:
                break
            found |= fresh
            _signal_all(fresh, signal.SIGSTOP)
        _signal_all(found, signal.SIGKILL)
        give_up_at = time.monotonic() + ENDS_WITHIN_S
        while set(self._leftovers()) & found and time.monotonic() < give_up_at:
            time.sleep(0.01)
        return len(found)

    def _end_namespace(self, init: int) -> None:
        """Kill the first process of the namespace and wait until the kernel has ended all others with it."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(init, signal.SIGKILL)
        select.select([init], [], [], ENDS_WITHIN_S)

    def _leftovers(self) -> Iterator[int]:
        mark = f"{MARK}={self._mark}".encode()
        for pid in map(int, filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc/self") else ())):
            with suppress(OSError, ValueError):
                state, _, _, session = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:4]
                if pid == self._process.pid or state in b"ZX":
                    continue
                if int(session) == self._process.pid or mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    yield pid

    def close_pipe(self, descriptor: int) -> None:
        """Close one of the public descriptors."""
        self._open.remove(descriptor)
        os.close(descriptor)

    def close(self) -> None:
        """Kill what is still alive, reap, close the pipes. May be called at any time."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self.kill_leftovers()
        if self._init is not None:
            os.close(self._init)
            self._init = None
        for descriptor in list(self._open):
            self.close_pipe(descriptor)


def _signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _pipe(stack: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for descriptor in ends:
        stack.callback(os.close, descriptor)
    return ends
