"""The heartbeat of one attempt: renews the lease from a thread of its own, and learns of a cancel."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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
    """Use as a context manager. ``stop_reason`` is what the runner's supervisor asks four times a second.

    ``renew`` prolongs the lease of what is done, which log and thread call ``name``.
    """

    def __init__(self, *, name: str, renew: Callable[[], attempts.Lease]) -> None:
        self._name = name
        self._renew = renew
        self._over = threading.Event()
        self._reason: str | None = None
        self._renewed_at = _now()
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"heartbeat of {name}")

    @classmethod
    def of_run(cls, *, number: int, epoch: int) -> Heartbeat:
        """That of the attempt which holds run ``number`` in ``epoch``."""
        return cls(name=f"run {number}", renew=lambda: attempts.renew(number=number, epoch=epoch))

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
                    lease = self._renew()
                except Error as error:
                    logger.warning("The lease of %s was not renewed (%s).", self._name, type(error).__name__)
                    connection.close()
                    if _now() - self._renewed_at >= settings.PORTAL_LEASE_S / 2:
                        self._reason = "lost_lease"
                    continue
                self._renewed_at = _now()
                self._reason = "lost_lease" if not lease.held else "cancel" if lease.cancel_requested else None
        finally:
            connection.close()
