"""The servers of the chaos, and the thread that may start them: a server dies with the thread that started it."""

from __future__ import annotations

import os
import queue
import random
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from opsportal.local import postgres, process, valkey

_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}
# Below the ports that clients get: while a server is away, a client that calls its port must not be given that very port.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 200


class Stage:
    """A portal PostgreSQL, a target PostgreSQL and a Valkey in ``folder``. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.portal = postgres.Postgres(folder / "portal", port=_free_port(), settings=_SETTINGS)
        self.target = postgres.Postgres(folder / "target", port=_free_port(), settings=_SETTINGS)
        self.broker = valkey.Valkey(folder / "valkey", port=_free_port())
        self._jobs: queue.Queue[tuple[Callable[[], None], Future[None]]] = queue.Queue()

    def __enter__(self) -> Stage:
        self.portal.start()
        self.target.start()
        self.broker.start()
        self.portal.create_database("opsportal")
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.broker, self.target, self.portal):
            server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What the portal's processes need to find the servers."""
        return {"DATABASE_URL": self.portal.url("opsportal"), "REDIS_URL": self.broker.url()}

    def ask(self, job: Callable[[], None], *, within: float = 120) -> None:
        """Have the main thread do ``job`` and wait until it has. Call from any other thread."""
        answer: Future[None] = Future()
        self._jobs.put((job, answer))
        answer.result(within)

    def work(self, seconds: float) -> None:
        """Do the jobs that were asked for, and return after ``seconds``. Call from the thread that started the servers."""
        try:
            job, answer = self._jobs.get(timeout=seconds)
        except queue.Empty:
            return
        try:
            job()
        except Exception as error:  # noqa: BLE001  (whoever asked gets it)
            answer.set_exception(error)
        else:
            answer.set_result(None)

    def crash(self, server: postgres.Postgres | valkey.Valkey, with_signal: signal.Signals) -> None:
        """End a server. On PostgreSQL SIGQUIT is an immediate shutdown and SIGINT a fast one."""
        os.kill(server.pid, with_signal)
        if not process.wait_until(lambda: not server.is_running(), within=30):
            raise RuntimeError(f"The {server.title} did not end after {with_signal.name}.")


def _free_port() -> int:
    dice = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        port = dice.choice(_PORTS)
        if process.is_free(port):
            return port
    raise process.LaunchFailed("No free port was found for the servers of the chaos.")
