"""The worker processes and beat, and the keeper that starts a new one where one has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from opsportal.local import process
from tests.chaos.scene import QUEUE

ROOT = Path(__file__).resolve().parent.parent.parent
CONCURRENCY = 2


@dataclass
class _Post:
    """A place for a worker: the process in it now, and how many were there."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    generation: int = 0


class Crew:
    """``workers`` Celery workers and one beat, writing their logs into ``folder``."""

    def __init__(self, *, workers: int, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._posts = [_Post(f"worker-{number}") for number in range(workers)] + [_Post("beat")]
        self._leaving: list[subprocess.Popen[bytes]] = []
        self.restarts = 0

    def keep(self) -> None:
        """Start whoever is missing. Call it often, from a thread that lasts."""
        for post in self._posts:
            if post.process is None or post.process.poll() is not None:
                self.restarts += post.process is not None
                post.process = self._start(post)

    def retire(self, main_pid: int) -> None:
        """Ask a worker to stop after what it does, and let another take its place at once."""
        for post in self._posts:
            if post.process is not None and post.process.pid == main_pid:
                post.process.send_signal(signal.SIGTERM)
                self._leaving.append(post.process)
                self.restarts += 1
                post.process = None

    def mains(self) -> list[int]:
        """The main processes of the workers that are at their posts."""
        return [post.process.pid for post in self._posts if post.process is not None and post.name != "beat"]

    def stop(self) -> None:
        """End all of them at once."""
        for each in [*self._leaving, *(post.process for post in self._posts if post.process is not None)]:
            if each.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(each.pid, signal.SIGKILL)
                each.wait()

    def said(self) -> Iterator[tuple[str, str]]:
        """The name and the text of each log."""
        for log in sorted(self._folder.glob("*.log")):
            yield log.name, log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Wait until every worker says that it is ready."""
        logs = [self._log(post) for post in self._posts if post.name != "beat"]
        if not process.wait_until(lambda: all("ready." in log.read_text() for log in logs), within=90):
            raise RuntimeError(f"The workers were not ready in time. See {self._folder}.")

    def _start(self, post: _Post) -> subprocess.Popen[bytes]:
        post.generation += 1
        command = [sys.executable, "-m", "celery", "-A", "opsportal"]
        if post.name == "beat":
            command += ["beat", "-s", str(self._folder / "beat-schedule"), "--pidfile", "", "-l", "WARNING"]
        else:
            command += ["worker", "-n", f"{post.name}-{post.generation}@chaos", "-c", str(CONCURRENCY)]
            command += ["-Q", f"portal,{QUEUE}", "--without-gossip", "--without-mingle", "-l", "INFO"]
        with self._log(post).open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=process.die_with_parent(signal.SIGKILL),
            )

    def _log(self, post: _Post) -> Path:
        return self._folder / f"{post.name}-{post.generation:03}.log"


def descendants(pid: int) -> list[int]:
    """The processes below ``pid``, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, left = [], list(children.get(pid, ()))
    while left:
        each = left.pop(0)
        found.append(each)
        left += children.get(each, ())
    return found


def parent_of(pid: int) -> int:
    """The parent of a process, or 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def runners_below(pid: int) -> list[int]:
    """The runner processes that a pool child has started."""
    return [each for each in descendants(pid) if _is_runner(each)]


def _is_runner(pid: int) -> bool:
    with suppress(OSError):
        return b"migrations_audit/runner\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
