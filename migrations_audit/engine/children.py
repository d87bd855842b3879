"""The runner child as an operating system process: started, signalled, ended together with all that it left behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from migrations_audit.errors import PortalError

PROGRAM: Final = Path(__file__).parent.parent / "runner" / "program.py"
INHERITED: Final = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ")
MARK: Final = "OPSPORTAL_RUN"
"""The variable by which a process of a run is recognised, also one that made itself a daemon."""


class CannotStart(PortalError):
    """The project's interpreter could not be started."""

    code = "interpreter_not_started"


class Child:
    """One running runner. The public descriptors are this side of its pipes; ``close`` ends everything."""

    def __init__(self, *, interpreter: str, folder: Path, home: str) -> None:
        """Start the runner in ``folder``, in a session of its own. Raises CannotStart."""
        self._mark = secrets.token_hex(16)
        with ExitStack() as stack:
            request, self.request = _pipe(stack)
            self.events, events = _pipe(stack)
            lifeline, self._lifeline = _pipe(stack)
            self.stdout, stdout = _pipe(stack)
            self.stderr, stderr = _pipe(stack)
            try:
                self._process = subprocess.Popen(
                    # Isolated: no PYTHON* variable, no working directory on the path, so that a folder of the project named
                    # alembic does not hide the package. What the project's own prepend_sys_path adds still works.
                    [
                        interpreter,
                        "-I",
                        "-u",
                        "-X",
                        "utf8",
                        str(PROGRAM),
                        *map(str, (request, events, lifeline, os.getpid())),
                    ],
                    cwd=folder,
                    env=self._environment(home),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=(request, events, lifeline),
                    start_new_session=True,
                )
            except OSError as error:
                raise CannotStart(
                    f"{error.filename or interpreter} could not be started ({error.strerror}). Correct the project's interpreter."
                ) from error
            stack.pop_all()
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
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Signal the runner's process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def kill_leftovers(self) -> int:
        """Kill what the runner started and left behind, wherever it hides; return how many processes that were."""
        killed: set[int] = set()
        for _ in range(50):  # again, because a fork may be faster than one look
            found = set(self._leftovers())
            if not found:
                break
            killed |= found
            for pid in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        return len(killed)

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
        for descriptor in list(self._open):
            self.close_pipe(descriptor)


def _pipe(stack: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for descriptor in ends:
        stack.callback(os.close, descriptor)
    return ends
