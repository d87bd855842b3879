"""Tells the supervisor what happens, one JSON object a line, and ends this process when it must not go on."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    Facts = dict[str, Any]

COMPLETE, INCOMPLETE, REFUSED, UNHEARD = 0, 1, 3, 4
MAX_STATEMENT = 4_000


def leave(code: int) -> NoReturn:
    """End at once: no exit handler of the project, no thread that it left behind, nothing that catches SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


class Events:
    """The way to the supervisor. A run that cannot tell must not go on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._process = os.getpid()
        self._lock = threading.RLock()

    @property
    def in_a_fork(self) -> bool:
        """Whether this is a process that the project forked. It must not mix its lines into ours."""
        return os.getpid() != self._process

    def emit(self, event: str, **facts: Any) -> None:
        if self.in_a_fork:
            return
        line = memoryview(json.dumps({"event": event, **facts}, default=str).encode() + b"\n")
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._descriptor, line) :]
        except OSError:
            leave(UNHEARD)

    def refuse(self, code: str, message: str, **facts: Any) -> NoReturn:
        """Say no and end. Not an exception, because env.py could catch it and go on."""
        self.emit("refused", code=code, message=message, **facts)
        leave(REFUSED)
