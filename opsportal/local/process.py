"""What every private server shares: a life tied to its parent, a folder that one owner holds, a free port, a secret on disk."""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from migrations_audit.errors import PortalError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


class LaunchFailed(PortalError):
    """A local server could not be started."""

    code = "launch_failed"


class FolderInUse(LaunchFailed):
    """Another process already runs servers in this folder."""

    code = "folder_in_use"


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None]:
    """Return a ``preexec_fn`` after which the child receives ``with_signal`` as soon as the calling *thread* has ended.

    Linux only; elsewhere the next start finds the leftover. Start servers from a thread that lives as long as they should.
    """
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
            if os.getppid() != parent:  # the parent went away before the line above took effect
                os._exit(1)

    return prepare


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a loopback port that nobody listens on at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remembered_port(file: Path) -> int:
    """Return the port written in ``file`` when it is free, else another one, and write that down."""
    try:
        port = int(file.read_text())
    except (FileNotFoundError, ValueError):
        port = 0
    if not 0 < port < 65536 or not is_free(port):
        port = free_port()
        file.write_text(f"{port}\n")
    return port


def secret_in(file: Path, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
    """Return the secret kept in ``file``; the first call makes it, readable by its owner alone."""
    try:
        kept = file.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if not kept:
        kept = make()
        write_private(file, kept + "\n")
    return kept


def write_private(file: Path, text: str) -> None:
    """Write ``text`` to ``file`` with mode 0600, whole or not at all."""
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    partial.replace(file)


def own_folder(folder: Path) -> Path:
    """Create ``folder`` when it is missing and return it resolved. Raises LaunchFailed when this user cannot write there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchFailed(f"The data folder {folder} cannot be made: {error.strerror}. Choose another one.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LaunchFailed(
            f"The data folder {folder} belongs to another user. Start as that user or choose another folder."
        )
    return folder.resolve()


class FolderLock:
    """Makes sure that one process at a time runs servers in a folder. The kernel frees it when the holder dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise FolderInUse naming the holder."""
        if self._descriptor is not None:
            return
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            raise FolderInUse(
                f"Process {holder or '(unknown)'} already uses the data folder {self._folder}. "
                "Stop it first, or choose another data folder."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def stop(process: subprocess.Popen[bytes], *, signals: tuple[signal.Signals, ...], patience: float = 20.0) -> None:
    """End ``process``: send the signals one by one, each ``patience`` seconds after the other, and SIGKILL at last."""
    for each in signals:
        if process.poll() is None:
            process.send_signal(each)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
    if process.poll() is None:
        process.kill()
    process.wait()


def processes_in(folder: Path, *, programs: frozenset[str]) -> dict[int, int]:
    """Return the processes of these programs that work in ``folder`` (a server's own data folder), each with its parent.

    The programs are named so that nobody's shell or pager in that folder is taken for a server.
    """
    if not sys.platform.startswith("linux"):
        return _listed_processes(folder, programs)
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                working_in, program = os.readlink(entry / "cwd"), (entry / "comm").read_text().strip()
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:  # gone meanwhile, or another user's
                continue
            if working_in == str(folder) and program in programs:
                found[int(entry.name)] = int(parent)
    return found


def _listed_processes(folder: Path, programs: frozenset[str]) -> dict[int, int]:
    listing = subprocess.run(["ps", "-axo", "pid=,ppid=,command="], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listing.splitlines():
        pid, parent, command = line.split(maxsplit=2)
        if Path(command.split()[0]).name in programs and str(folder) in command:
            found[int(pid)] = int(parent)
    return found


def stop_leftovers(
    folder: Path, *, programs: frozenset[str], signals: tuple[signal.Signals, ...], patience: float = 10.0
) -> None:
    """End the server that a dead parent left in ``folder``. Call it only while holding the folder's lock.

    The signals go to the server alone, which ends its own children; SIGKILL at last goes to all of them.
    Raises LaunchFailed when one will not end.
    """
    for each in (*signals, signal.SIGKILL):
        leftovers = processes_in(folder, programs=programs)
        if not leftovers:
            return
        for pid, parent in leftovers.items():
            if parent not in leftovers or each is signal.SIGKILL:
                _signal_leftover(pid, each, folder)
        if wait_until(lambda: not processes_in(folder, programs=programs), within=patience):
            return
    left = sorted(processes_in(folder, programs=programs))
    raise LaunchFailed(f"Processes {left} still work in {folder} and do not end. Stop them first.")


def _signal_leftover(pid: int, what: signal.Signals, folder: Path) -> None:
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise LaunchFailed(f"Process {pid} of another user still works in {folder}. Stop it first.") from error


def wait_until(condition: Callable[[], bool], *, within: float, every: float = 0.05) -> bool:
    """Look every ``every`` seconds whether ``condition`` holds; return False after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def pause(seconds: float) -> None:
    """Let a moment pass before another attempt."""
    time.sleep(seconds)


def last_lines(file: Path, *, start: int = 0, count: int = 12) -> str:
    """Return the last ``count`` lines of a log, reading from byte ``start`` on."""
    with file.open("rb") as handle:
        handle.seek(start)
        return "\n".join(handle.read().decode(errors="replace").splitlines()[-count:])
