"""The portal's own processes (web, worker, beat) on one machine: started, watched, started again, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opsportal.local import process

_RESTART_AFTER = 5.0  # seconds between two starts of the same child
_STILL_AT_WORK = 5.0  # seconds between two lines about a step that takes long
_PATIENCE = 10.0  # seconds between the signals of a stop


class Child:
    """One program. It ends with this process, and its whole process group with it. Without ``log`` it prints where we do."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path | None,
        environment: Mapping[str, str],
        folder: Path,
        stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,),
        orphan_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._log = log
        self._environment = dict(environment)
        self._folder = folder
        self._stop_signals = stop_signals
        self._orphan_signal = orphan_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._begin = 0

    def start(self) -> None:
        """Start the program."""
        self._started_at = time.monotonic()
        with contextlib.ExitStack() as stack:
            output = None
            if self._log is not None:
                self._log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(self._log.open("ab"))
                self._begin = output.tell()
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal must reach us first, so that we stop in order
                preexec_fn=process.die_with_parent(self._orphan_signal),
            )

    def exit_code(self) -> int | None:
        """Return the exit code, or None while the program runs."""
        return None if self._process is None else self._process.poll()

    def said(self) -> str:
        """Return the last lines that the program printed to its log since its start."""
        return "" if self._log is None else process.last_lines(self._log, start=self._begin)

    def revive(self, *, tell: Callable[[str], None]) -> None:
        """Start the program again if it has ended, some seconds after its last start, and tell what happened."""
        code = self.exit_code()
        if code is None or time.monotonic() - self._started_at < _RESTART_AFTER:
            return
        tell(f"{self.name} ended with code {code}. The end of {self._log}:\n{self.said()}\nStarting {self.name} again.")
        self._end_group()
        self.start()

    def stop(self) -> None:
        """Stop the program and return when it and all it started have ended."""
        if self._process is not None:
            process.stop(self._process, signals=self._stop_signals, patience=_PATIENCE)
            self._end_group()
            self._process = None

    def _end_group(self) -> None:
        # A killed parent (a prefork worker) leaves its children; they share its process group.
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # macOS answers the latter for a group of zombies
                return


def run(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    folder: Path,
    tell: Callable[[str], None],
) -> None:
    """Run a program to its end, telling now and then that it is at work.

    Raises LaunchFailed with the end of its log when its exit code is not 0.
    """
    step = Child(name, command, log=log, environment=environment, folder=folder, orphan_signal=signal.SIGKILL)
    step.start()
    try:
        while not process.wait_until(lambda: step.exit_code() is not None, within=_STILL_AT_WORK):
            tell(f"{name} is still at work …")
        if step.exit_code() != 0:
            raise process.LaunchFailed(f"{name} failed with code {step.exit_code()}. The end of {log}:\n{step.said()}")
    finally:
        step.stop()
