"""A broker of one test module, to be killed, frozen and emptied; and messages that nobody of ours made."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from opsportal.local.valkey import Valkey


class Broker:
    """One Valkey on one port through all its lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = Valkey(folder)
        self._server.start()
        self.url = self._server.url()

    def kill(self) -> None:
        """SIGKILL it, and forget what it had written: a broker without persistence."""
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """While inside, it accepts connections and answers nobody."""
        os.kill(self._server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server.pid, signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def empty(self) -> None:
        """As after FLUSHALL, or after an eviction of everything."""
        with self.client() as client:
            client.flushall()

    def push(self, queue: str, raw: str | bytes) -> None:
        """Put bytes into a queue as they are."""
        with self.client() as client:
            client.lpush(queue, raw)


def app_at(url: str) -> Celery:
    """The portal's Celery settings with another broker."""
    app = Celery("reliability", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(broker_url=url)
    return app


def message(task: str, queue: str, *, kwargs: Any, body: bytes | None = None, **headers: Any) -> str:
    """A message as Celery's protocol writes it, for a task of any name."""
    identifier = secrets.token_hex(16)
    packed = json.dumps([[], kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
    known = {"lang": "py", "task": task, "id": identifier, "root_id": identifier, "parent_id": None, "group": None}
    return json.dumps(
        {
            "body": base64.b64encode(packed if body is None else body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {**known, "argsrepr": "()", "kwargsrepr": "{}", **headers},
            "properties": {
                "correlation_id": identifier,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": secrets.token_hex(16),
            },
        }
    )
