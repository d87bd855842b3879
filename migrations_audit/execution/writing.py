"""What an attempt tells the portal's database, in order. While that is away the writes wait, and the migration goes on.

How long it may be away is not decided here: the heartbeat loses the lease then, and the runner is stopped.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from django.db import InterfaceError, OperationalError, connection

from migrations_audit.actions.audit import AuditUnavailable

logger = logging.getLogger(__name__)

AWAY: Final = (OperationalError, InterfaceError, AuditUnavailable)
"""The portal's database does not answer, or its audit chain cannot be had just now."""
TRY_AGAIN_S: Final = 2.0


class Writer:
    """Writes of one attempt. Whatever a write raises beside ``AWAY`` comes out, LostLease above all."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._try_at = 0.0

    def write(self, act: Callable[[], None]) -> None:
        """Write after all that waits, now if the database answers."""
        self._waiting.append(act)
        self.settle()

    def settle(self) -> None:
        """Write what waits, if the database answers; every ``TRY_AGAIN_S`` while it does not."""
        if not self._waiting or time.monotonic() < self._try_at:
            return
        try:
            self.finish()
        except AWAY as error:
            logger.warning("%s writes wait for the portal's database (%s).", len(self._waiting), type(error).__name__)
            self._try_at = time.monotonic() + TRY_AGAIN_S

    def finish(self) -> None:
        """Write all that waits. Raises one of ``AWAY`` when the database does not answer; nothing is lost then."""
        while self._waiting:
            try:
                self._waiting[0]()
            except AWAY:
                connection.close()
                raise
            self._waiting.popleft()
        self._try_at = 0.0
