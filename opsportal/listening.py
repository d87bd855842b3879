"""Keeps a worker from going deaf: alive, idle, and taking no message any more.

A worker whose places are all taken does not read from Redis, so it does not notice that the broker went away. When it then
acknowledges its messages, Celery logs "Couldn't ack" and goes on, the messages keep their places for ever, and no further one
is asked for, although the broker is back and nothing is at work.
"""

from __future__ import annotations

from typing import Any, Final

from celery import bootsteps

LOOK_EVERY_S: Final = 5.0


class LostAcknowledgements(ConnectionError):
    """Every place of this worker is held by a message that it could not acknowledge. It connects to the broker anew."""


class Listening(bootsteps.StartStopStep):
    """A step of the consumer: looks every few seconds whether the worker still can hear, and else has Celery reconnect.

    Runs go on meanwhile: only the connection to the broker begins anew.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._entry: Any = None

    def start(self, parent: Any) -> None:
        self._entry = parent.timer.call_repeatedly(LOOK_EVERY_S, look, (parent,))

    def stop(self, parent: Any) -> None:
        if self._entry is not None:
            parent.timer.cancel(self._entry)
            self._entry = None


def look(consumer: Any) -> None:
    """Raise LostAcknowledgements, which Celery takes for a lost connection, when the worker waits for nothing."""
    if consumer.task_consumer is None or consumer.task_consumer.channel.qos.can_consume():
        return
    if all(request.acknowledged for request in list(consumer.controller.state.reserved_requests)):
        raise LostAcknowledgements(LostAcknowledgements.__doc__)
