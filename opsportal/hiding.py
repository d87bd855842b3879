"""Keeps other processes of the same account out of this one's memory and environment."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def hide_from_same_account() -> None:
    """Let only root read this process's memory and environment in /proc from now on, and its children's until they exec.

    Linux only; elsewhere nothing changes. No debugger of the same account attaches afterwards, and no core is dumped.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
