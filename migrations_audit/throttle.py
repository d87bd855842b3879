"""Counting what strangers try, over all web processes: in Redis, and in this process alone while there is no Redis.

A count may be lost with Redis, which lets somebody guess a little longer. It is never a reason to keep everybody out.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from dataclasses import dataclass

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

MOST_KEPT_HERE = 10_000


@dataclass(frozen=True)
class Count:
    """How often something happened in its window, this time included, and how many seconds the window still lasts."""

    times: int
    seconds_left: int


def add(kind: str, subject: str, *, window_s: int) -> Count:
    """Count one more. The window begins with the first; what ``subject`` was cannot be read from what is stored."""
    name = _name(kind, subject)
    try:
        with _client().pipeline() as pipe:
            pipe.set(name, 0, ex=window_s, nx=True)
            pipe.incr(name)
            pipe.ttl(name)
            _, times, left = pipe.execute()
    except (redis.RedisError, OSError) as error:
        logger.warning("Redis does not count sign-ins (%s); this process counts alone.", type(error).__name__)
        return _here.add(name, window_s)
    return Count(int(times), max(1, int(left)))


def take_back(kind: str, subject: str) -> None:
    """Count one less: it was no guess."""
    name = _name(kind, subject)
    _here.take_back(name)
    try:
        if int(_client().decr(name)) < 0:
            _client().delete(name)
    except (redis.RedisError, OSError) as error:
        logger.warning("Redis does not take back a count of sign-ins (%s).", type(error).__name__)


def forget(kind: str, subject: str) -> None:
    """Begin anew."""
    name = _name(kind, subject)
    _here.forget(name)
    try:
        _client().delete(name)
    except (redis.RedisError, OSError) as error:
        logger.warning("Redis does not forget a count of sign-ins (%s).", type(error).__name__)


class _Here:
    """The counts of this process."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, window_s: int) -> Count:
        now = time.monotonic()
        with self._lock:
            if len(self._counts) >= MOST_KEPT_HERE:
                self._counts = {key: kept for key, kept in self._counts.items() if kept[1] > now}
                if len(self._counts) >= MOST_KEPT_HERE:
                    self._counts.clear()
            times, ends_at = self._counts.get(name, (0, 0.0))
            if ends_at <= now:
                times, ends_at = 0, now + window_s
            self._counts[name] = (times + 1, ends_at)
        return Count(times + 1, max(1, round(ends_at - now)))

    def take_back(self, name: str) -> None:
        with self._lock:
            times, ends_at = self._counts.get(name, (0, 0.0))
            if times:
                self._counts[name] = (times - 1, ends_at)

    def forget(self, name: str) -> None:
        with self._lock:
            self._counts.pop(name, None)


_here = _Here()
_kept: dict[str, redis.Redis] = {}


def _client() -> redis.Redis:
    url = settings.REDIS_URL
    if url not in _kept:
        _kept[url] = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
    return _kept[url]


def _name(kind: str, subject: str) -> str:
    digest = hashlib.blake2b(
        subject.encode("utf-8", "surrogatepass"), key=settings.SECRET_KEY.encode()[:64], digest_size=16
    )
    return f"opsportal:{kind}:{digest.hexdigest()}"
