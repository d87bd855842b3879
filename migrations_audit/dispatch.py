"""The only place that sends a message: a Celery wake-up after commit, and the live log's nudge.

The row is the truth. A message that is lost is sent again by the sweep; one that arrives twice is refused by the claim. So a
broker that is down or frozen may cost a moment, never an answer: a click waits at most ``PATIENCE_S`` for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import redis
from celery import current_app
from django.conf import settings
from django.db import transaction

from migrations_audit import failpoints

logger = logging.getLogger(__name__)

PATIENCE_S = 1.5
FORGOTTEN_AFTER_S = 1_800
"""A message that nobody took for so long is dropped, or a queue without a worker would grow for ever. The worker compares its own
clock with the sender's, so this is generous: clocks that differ by minutes must not keep a run from starting."""


class Wake(StrEnum):
    """The tasks that can be woken, by their registered names."""

    PLAN = "migrations_audit.plan_run"
    EXECUTE = "migrations_audit.execute_run"
    RECONCILE = "migrations_audit.reconcile_run"
    OBSERVE = "migrations_audit.observe_target"
    REHEARSE = "migrations_audit.rehearse"


def after_commit(wake: Wake, *, queue: str, **ids: int) -> None:
    """Send a wake-up once the surrounding transaction is committed. Never raises for the broker's sake."""

    def send() -> None:
        failpoints.reach("after_commit_before_publish")
        _patiently(lambda: _send(wake, queue=queue, ids=ids))

    transaction.on_commit(send)


def announce(number: int) -> None:
    """Tell open pages that run ``number`` has something new, and wait for nothing. Pages that miss it find the rows anyway."""
    _patiently(lambda: _redis().publish(channel(number), "1"), patience_s=0)


def channel(number: int) -> str:
    """The pub/sub channel of one run's live log."""
    return f"opsportal:run:{number}"


def _send(wake: Wake, *, queue: str, ids: dict[str, int]) -> None:
    current_app.send_task(wake.value, kwargs=ids, queue=queue, expires=FORGOTTEN_AFTER_S, ignore_result=True)


_client: redis.Redis | None = None


def _redis() -> redis.Redis:
    global _client
    if _client is None:
        _client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
    return _client


def _patiently(send: Callable[[], Any], *, patience_s: float = PATIENCE_S) -> None:
    """Run ``send`` beside us and stop waiting after ``patience_s``: a frozen broker answers neither yes nor no."""

    def guarded() -> None:
        try:
            send()
        except Exception as error:  # noqa: BLE001  (outermost frame of this thread)
            logger.warning(
                "The broker did not take a message (%s); the sweep will send it again.", type(error).__name__
            )

    sender = threading.Thread(target=guarded, daemon=True, name="dispatch")
    sender.start()
    sender.join(patience_s)
    if patience_s and sender.is_alive():
        logger.warning("The broker did not answer within %.1f s; the sweep will send the message again.", patience_s)
