"""The heartbeat of one attempt: renews the lease from a thread of its own, and learns of a cancel."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from django.conf import settings
from django.db import Error, connection

from migrations_audit.actions import attempts

logger = logging.getLogger(__name__)
BEATS_PER_LEASE = 15
"""With the default lease a cancel is learnt of within two seconds."""


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock: a lease does not wait for a sleeper."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Heartbeat:
    """Use as a context manager. ``stop_reason`` is what the runner's supervisor asks four times a second."""

    def __init__(self, *, number: int, epoch: int) -> None:
        self._number = number
        self._epoch = epoch
        self._over = threading.Event()
        self._reason: str | None = None
        self._renewed_at = _now()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"heartbeat-{number}")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(5)

    def stop_reason(self) -> str | None:
        """``lost_lease``, ``cancel``, or None to go on. A heartbeat that hangs has lost the lease when its time is over."""
        if _now() - self._renewed_at >= settings.PORTAL_LEASE_S:
            return "lost_lease"
        return self._reason

    def _beat(self) -> None:
        pause = settings.PORTAL_LEASE_S / BEATS_PER_LEASE
        try:
            while not self._over.wait(pause):
                try:
                    lease = attempts.renew(number=self._number, epoch=self._epoch)
                except Error as error:
                    logger.warning("Run %s: the lease was not renewed (%s).", self._number, type(error).__name__)
                    connection.close()
                    if _now() - self._renewed_at >= settings.PORTAL_LEASE_S / 2:
                        self._reason = "lost_lease"
                    continue
                self._renewed_at = _now()
                self._reason = "lost_lease" if not lease.held else "cancel" if lease.cancel_requested else None
        finally:
            connection.close()
