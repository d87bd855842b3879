"""Named places at which a test lets a process die, hang or fail. Without ``PORTAL_MODE=test`` they do nothing.

``PORTAL_FAILPOINTS="after_claim=kill;before_finish=wait:5"`` arms two of them, each once per process. docs/reliability.md tells
which faults they make repeatable.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping
from typing import Final

logger = logging.getLogger(__name__)

NAMES: Final = frozenset(
    {
        "after_claim",
        "after_commit_before_publish",
        "after_finish",
        "after_runner",
        "after_take_over",
        "before_claim",
        "before_finish",
        "before_go",
        "before_runner",
        "in_reconcile",
    }
)


class ReachedFailpoint(Exception):
    """A test asked for a failure here."""


def parse(environment: Mapping[str, str]) -> dict[str, str]:
    """What is armed. Raises ValueError for an unknown name or action: a fault that is not injected proves nothing."""
    if environment.get("PORTAL_MODE") != "test":
        return {}
    armed = dict(item.split("=", 1) for item in environment.get("PORTAL_FAILPOINTS", "").split(";") if item)
    for name, action in armed.items():
        verb, _, seconds = action.partition(":")
        known = verb in ("kill", "killgroup", "stop", "raise") or (verb == "wait" and seconds.isdigit())
        if name not in NAMES or not known:
            raise ValueError(f"There is no failpoint {name}={action}.")
    return armed


_armed = parse(os.environ)


def reach(name: str) -> None:
    """Do here what a test armed, which is nothing in any other process."""
    action = _armed.pop(name, "")
    if not action:
        return
    logger.warning("Failpoint %s: %s", name, action)
    match action.partition(":"):
        case "kill", _, _:
            os.kill(os.getpid(), signal.SIGKILL)
        case "killgroup", _, _:
            os.killpg(0, signal.SIGKILL)
        case "stop", _, _:
            os.kill(os.getpid(), signal.SIGSTOP)
        case "wait", _, seconds:
            time.sleep(int(seconds))
        case _:
            raise ReachedFailpoint(name)
