"""Server-sent events of one run. PostgreSQL is the truth; Redis only says that it is worth looking.

Subscribe first, then read what is newer than the last line seen: nothing falls between. Lines are written under the run's row
lock, so their numbers appear in order and reading beyond the last one never misses any.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest
from redis.exceptions import RedisError

from migrations_audit import dispatch
from migrations_audit.models import LogLine
from migrations_audit.models.clock import database_now
from migrations_audit.queries import live
from migrations_audit.sessions import SessionStore
from migrations_audit.web.text import visible

logger = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
LOOK_EVERY_S = 5.0
"""A nudge that was lost costs an open page at most this time."""
LOOK_WITHOUT_REDIS_S = 2.0
LONGEST_S = 600.0
"""Then the browser connects again, and everything about the person is asked again."""


class Wakeups:
    """Waits for the nudge of one run, or for a time, whichever comes first."""

    def __init__(self, pubsub: Any | None) -> None:
        self._pubsub = pubsub

    async def wait(self) -> None:
        """Return after a nudge, or when it is time to look anyway. A Redis that went away costs speed, not lines."""
        if self._pubsub is None:
            await asyncio.sleep(LOOK_WITHOUT_REDIS_S)
            return
        try:
            await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=LOOK_EVERY_S)
        except (RedisError, OSError) as error:
            logger.warning("Redis went away under a live log (%s); reading on without it.", type(error).__name__)
            self._pubsub = None


@asynccontextmanager
async def listening(number: int) -> AsyncIterator[Wakeups]:
    """Wake-ups of run ``number``, subscribed before this returns. Without Redis they come by the clock."""
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=2)
    pubsub: Any = client.pubsub()
    subscribed = True
    try:
        await pubsub.subscribe(dispatch.channel(number))
    except (RedisError, OSError) as error:
        logger.warning("No Redis for a live log (%s); reading without it.", type(error).__name__)
        subscribed = False
    try:
        yield Wakeups(pubsub if subscribed else None)
    finally:
        await pubsub.aclose()
        await client.aclose()


async def events_of(
    number: int, *, user_id: int | None, after: int, session_key: str | None = None
) -> AsyncIterator[str]:
    """The events of a run from line ``after`` on, until it has ended, the person has lost it, or ``LONGEST_S`` is over.

    With ``session_key`` the person is asked again at each look: signing out, another password, a switched-off account or one
    that is no longer staff end the stream as they end the session.
    """
    last, shown, began, spoke = after, "", time.monotonic(), time.monotonic()
    patience = live.Patience()
    async with listening(number) as wakeups:
        yield "retry: 1000\n\n"
        while time.monotonic() - began < LONGEST_S:
            seen = await sync_to_async(_glance)(
                number, user_id=user_id, after=last, session_key=session_key, patience=patience
            )
            if isinstance(seen, SignedOut):
                yield _event("end", {"reason": "You are no longer signed in."})
                return
            if seen is None:
                yield _event("end", {"reason": "You may no longer see this run."})
                return
            for line in seen.lines:
                yield _event("log", line_of(line), seq=line.seq)
                last = line.seq
            state = json.dumps(seen.state)
            if state != shown and not seen.more:
                yield f"event: state\ndata: {state}\n\n"
                shown = state
            if seen.more:
                continue
            if seen.is_over:
                yield _event("end", {"reason": "The run has ended."})
                return
            if seen.lines:
                spoke = time.monotonic()
            elif time.monotonic() - spoke >= HEARTBEAT_S:
                yield ": still here\n\n"
                spoke = time.monotonic()
            await wakeups.wait()


def line_of(line: LogLine) -> dict[str, Any]:
    """One log line as JSON: the text with visible escapes, the time in UTC."""
    return {
        "seq": line.seq,
        "at": line.at.isoformat(timespec="milliseconds"),
        "stream": line.stream,
        "text": visible(line.text),
        "duration_ms": line.duration_ms,
    }


class SignedOut:
    """The session behind a stream is over."""


def _glance(
    number: int, *, user_id: int | None, after: int, session_key: str | None, patience: live.Patience
) -> live.Glance | SignedOut | None:
    """One look, and the database connection given back: an open stream must not keep one."""
    try:
        if session_key is not None and not _is_signed_in(session_key, user_id):
            return SignedOut()
        return live.glance(number, user_id=user_id, after=after, patience=patience, now=database_now())
    finally:
        close_old_connections()


def _is_signed_in(session_key: str, user_id: int | None) -> bool:
    """What the middleware and the site ask of every request, asked of a session by its key."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    request.user = get_user(request)
    return request.user.pk == user_id and admin.site.has_permission(request)


def _event(name: str, data: dict[str, Any], *, seq: int | None = None) -> str:
    identifier = f"id: {seq}\n" if seq is not None else ""
    return f"{identifier}event: {name}\ndata: {json.dumps(data)}\n\n"
