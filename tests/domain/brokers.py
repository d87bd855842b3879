"""Brokers that refuse, that are frozen, and the one that works, for the dispatcher's tests."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from celery import Celery
from django.conf import settings

BOUND_S = 8.0


def app_at(url: str) -> Celery:
    """The portal's Celery settings with another broker, and without time-outs: only the dispatcher's patience bounds a wait."""
    app = Celery("elsewhere", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(broker_url=url, broker_transport_options={})
    return app


@contextmanager
def frozen() -> Iterator[str]:
    """The URL of a server that accepts every connection and never answers."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(BOUND_S)
    for connection in kept:
        connection.close()


def refusing() -> str:
    """The URL of a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0"


def bounded(call: Callable[[], Any]) -> Any:
    """The result of ``call``, which must come within the bound: a guard gives up on it instead of hanging with it."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  (raised again below, in the test's own thread)
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert not thread.is_alive(), f"Still waiting for the broker after {BOUND_S:g} s."
    for error in errors:
        raise error
    return results[0]


def messages(queue: str) -> list[tuple[str, dict[str, Any]]]:
    """The task name and the keyword arguments of each message that waits in ``queue``, oldest first."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
        waiting = [json.loads(raw) for raw in reversed(broker.lrange(queue, 0, -1))]
    return [(item["headers"]["task"], json.loads(base64.b64decode(item["body"]))[1]) for item in waiting]


def empty(queue: str) -> None:
    """Take everything out of ``queue``."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5) as broker:
        broker.delete(queue)
