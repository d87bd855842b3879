"""What the private servers have in common: one owner per folder, a port that is kept, a start that waits for an answer."""

from __future__ import annotations

import abc
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from opsportal.local import account as accounts
from opsportal.local import process

_START_WITHIN = 60.0
_ATTEMPTS = 6
_PORT_IS_TAKEN = re.compile("could not bind|bind: Address|Failed listening on port")


@dataclass(frozen=True)
class Launch:
    """How to start a server program."""

    command: Sequence[str | Path]
    folder: Path
    environment: dict[str, str]
    account: accounts.Account = field(default_factory=lambda: accounts.Account("this user"))


class PrivateServer(abc.ABC):
    """A server that lives in ``data`` and ends with this process (call ``start`` from a thread that lasts).

    ``port``: a fixed loopback port; without it a free one is chosen and kept for the next start.
    """

    host = "127.0.0.1"
    title: ClassVar[str]
    stop_signals: ClassVar[tuple[signal.Signals, ...]]
    passing_trouble: ClassVar[re.Pattern[str]]  # what the log says when another attempt can help

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        self._data = data
        self._asked_port = port
        self._lock: process.FolderLock | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._password = ""

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise process.LaunchFailed(f"The {self.title} server of {self._data} is not started.")
        return self._process.pid

    @property
    def port(self) -> int:
        """The loopback port; known after the first start."""
        return self._port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers; nothing happens when it runs. Raises LaunchFailed."""
        if self.is_running():
            return
        self._data = process.own_folder(self._data)
        self._lock = self._lock or process.FolderLock(self._data)
        self._lock.acquire()
        try:
            self._password = process.secret_in(self._data / "password")
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down and return when it has ended; nothing happens when it does not run."""
        if self._process is not None:
            process.stop(self._process, signals=self.stop_signals)
            self._process = None
        if self._lock is not None:
            self._lock.release()

    def is_running(self) -> bool:
        """Tell whether the server process that we started is alive."""
        return self._process is not None and self._process.poll() is None

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make the data ready for a start; nobody else works in the folder now."""

    @abc.abstractmethod
    def _how(self) -> Launch:
        """Return the launch for ``self._port``."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Tell whether the server accepts our password at our port."""

    def _launch(self) -> None:
        log = self._data / "server.log"
        for attempt in range(_ATTEMPTS):
            self._port = self._asked_port or process.remembered_port(self._data / "port")
            begin = log.stat().st_size if log.exists() else 0
            self._process = self._spawn(log)
            process.wait_until(lambda: not self.is_running() or self._answers(), within=_START_WITHIN)
            if self.is_running() and self._answers():
                return
            said = process.last_lines(log, start=begin)
            process.stop(self._process, signals=self.stop_signals)
            self._process = None
            if _PORT_IS_TAKEN.search(said):
                if self._asked_port:
                    break  # another port would not be the one that was asked for
            elif not self.passing_trouble.search(said):
                break
            process.pause(0.2 * (attempt + 1))
        raise process.LaunchFailed(
            f"The private {self.title} of {self._data} did not start on port {self._port}. Its log {log} says:\n{said}"
        )

    def _spawn(self, log: Path) -> subprocess.Popen[bytes]:
        how = self._how()
        with log.open("ab") as output:
            return subprocess.Popen(
                [*how.account.prefix, *how.command],
                cwd=how.folder,
                env=how.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=how.account.uid,
                group=how.account.gid,
                extra_groups=how.account.groups,
                start_new_session=True,  # Ctrl-C in a terminal must reach us first, not the servers
                preexec_fn=process.die_with_parent(self.stop_signals[0]),
            )
