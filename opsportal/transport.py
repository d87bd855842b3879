"""The broker's transport, with one difference: what is no message at all does not end the worker.

Celery answers a message that it does not understand. Bytes that are no JSON it never sees, because the transport parses them
first, and its exception ends the worker's main process: whoever may write to the broker could stop all workers with one word.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import Any

from kombu.transport import redis

logger = logging.getLogger(__name__)


class Channel(redis.Channel):
    """Drops what cannot be read; the row is the truth, so a wake-up that was meant is sent again."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # the stubs leave it out
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("Something in the broker's queues is no message (%s); it is dropped.", type(error).__name__)
            raise Empty from error


class Transport(redis.Transport):
    Channel = Channel
