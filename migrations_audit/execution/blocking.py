"""Who holds the locks that a run waits for, looked up while it waits: afterwards nobody can tell any more."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Final

from migrations_audit.engine import dialects, fence
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError

logger = logging.getLogger(__name__)

FIRST_LOOK_S: Final = 0.3
LONGEST_PAUSE_S: Final = 5.0
POLL_S: Final = 0.05

# Comments and quoted names are matched so that a quotation mark in them opens no literal. The server may have cut the end off.
_PARTS: Final = re.compile(
    r"""(?isx)
      (?P<comment> -- [^\r\n]* | /\* .*? (?: \*/ | \Z ) )
    | (?P<name> " (?: [^"] | "" )* (?: " | \Z ) | \$ \d+ )
    | \b e ' (?: [^'\\] | \\. | '' )* (?: ' | \Z )
    | (?: \b [nbx] | \b u& )? ' (?: [^'] | '' )* (?: ' | \Z )
    | \$ (?P<tag> [^\W\d]\w* )? \$ .*? (?: \$ (?(tag) (?P=tag) ) \$ | \Z )
    | (?<! [\w$] ) \d [\w.]*
    """
)


def shape(query: str) -> str:
    """``query`` without its values and comments: whose session it is must be told, whose data it works on must not."""
    return _PARTS.sub(lambda found: "" if found["comment"] else found["name"] or "?", query)


class BlockerWatch:
    """Use as a context manager around the runner. ``seen`` is what the last look found, or the last that found anything.

    It looks in a thread of its own, because a look connects and must not hold up the runner's supervisor. A statement is first
    looked at after a third of the lock timeout, at most ``FIRST_LOOK_S``, then less and less often.
    """

    def __init__(
        self, url: TargetUrl, *, prefix: str, lock_timeout_ms: int, statement_since: Callable[[], float | None]
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._first_look_s = min(FIRST_LOOK_S, lock_timeout_ms / 3000) if lock_timeout_ms else FIRST_LOOK_S
        self._statement_since = statement_since
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="blockers")
        self.seen: tuple[fence.Backend, ...] = ()

    def __enter__(self) -> BlockerWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(fence.CONNECT_TIMEOUT_S)

    def _watch(self) -> None:
        statement: float | None = None
        pause, due = self._first_look_s, 0.0
        while not self._over.wait(POLL_S):
            since = self._statement_since()
            if since is None:
                continue
            if since != statement:
                statement, pause, due = since, self._first_look_s, since + self._first_look_s
            if time.monotonic() >= due:
                self._look()
                pause = min(2 * pause, LONGEST_PAUSE_S)
                due = time.monotonic() + pause

    def _look(self) -> None:
        try:
            found = dialects.blockers(self._url, prefix=self._prefix)
        except PortalError as error:
            logger.info("Who blocks %s was not read: %s", self._prefix, error.message)
            return
        if found:
            self.seen = tuple(replace(each, query=shape(each.query)) for each in found)
