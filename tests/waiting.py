"""How tests wait for something that another process does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(predicate: Callable[[], T], *, within: float = 20.0, what: str = "the condition") -> T:
    """Return the first true value of ``predicate``; fail naming ``what`` after ``within`` seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + within
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"Waited {within:g} s for {what}. Last value: {value!r}")
        pause.wait(0.05)
