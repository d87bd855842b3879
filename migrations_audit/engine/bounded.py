"""Running a program of the worker's own with limits: time, output, and what it may write. No shell, no inherited environment."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from migrations_audit.errors import PortalError

MAX_STDERR_BYTES: Final = 64 * 1024
PAUSE_S: Final = 0.05
LOOK_EVERY_S: Final = 0.5


class NoProgram(PortalError):
    """A program that the worker needs is not installed on it."""

    code = "program_missing"


class TookTooLong(PortalError):
    """A program of the worker was ended because it took too long."""

    code = "program_timed_out"


class WroteTooMuch(PortalError):
    """A program of the worker was ended because it wrote more than it may."""

    code = "program_wrote_too_much"


@dataclass(frozen=True)
class Ended:
    """How a program ended and what it said."""

    code: int
    stdout: bytes
    stderr: str


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    folder: Path,
    stdin: bytes = b"",
    max_output_bytes: int,
    grows: Path | None = None,
    max_growth_bytes: int = 0,
    keep_open: Sequence[int] = (),
) -> Ended:
    """Run ``command`` in ``folder`` with exactly this environment and wait for its end.

    ``grows`` names a folder whose contents may reach ``max_growth_bytes``. The descriptors of ``keep_open`` stay open in the
    program, so that a lock on them lasts as long as the last of its processes. Nothing of its process group outlives the call.

    Raises NoProgram, TookTooLong and WroteTooMuch.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained, tempfile.TemporaryFile() as told:
        told.write(stdin)
        told.seek(0)
        try:
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(environment),
                stdin=told,
                stdout=said,
                stderr=complained,
                pass_fds=tuple(keep_open),
                start_new_session=True,
            )
        except OSError as error:
            name = os.path.basename(command[0])
            raise NoProgram(
                f"{name} could not be started on this worker ({error.strerror}). Install it there."
            ) from error
        try:
            _wait(process, said, complained, timeout_s, max_output_bytes, grows, max_growth_bytes)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Ended(process.returncode, _all(said), _all(complained).decode("utf-8", "replace"))


def size_of(folder: Path) -> int:
    """The bytes of all files below ``folder``; what vanishes meanwhile does not count."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _wait(
    process: subprocess.Popen[bytes],
    said: IO[bytes],
    complained: IO[bytes],
    timeout_s: float,
    max_output_bytes: int,
    grows: Path | None,
    max_growth_bytes: int,
) -> None:
    gives_up_at = time.monotonic() + timeout_s
    looks_at = 0.0
    while True:
        ended = process.poll() is not None
        if _size(said) > max_output_bytes or _size(complained) > MAX_STDERR_BYTES:
            raise WroteTooMuch("It wrote more output than it may.")
        if grows is not None and (ended or time.monotonic() >= looks_at):
            looks_at = time.monotonic() + LOOK_EVERY_S
            if size_of(grows) > max_growth_bytes:
                raise WroteTooMuch(f"More than {max_growth_bytes // 1024**2} MiB would have been stored.")
        if ended:
            return
        if time.monotonic() >= gives_up_at:
            raise TookTooLong(f"It took longer than {timeout_s:g} s.")
        with suppress(subprocess.TimeoutExpired):
            process.wait(PAUSE_S)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _all(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
