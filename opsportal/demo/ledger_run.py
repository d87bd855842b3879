"""The run of the demo's ledger that waits for approval, for whoever wants to see what an approver sees before deciding."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx

TARGET: Final = "ledger/production/main"
UNDECIDED: Final = ("requested", "planning", "awaiting_approval")
PATIENCE_S: Final = 120.0


class NoWaitingRun(Exception):
    """The ledger's run could not be brought to where it waits for approval."""


def waiting(api: httpx.Client, *, pause: Callable[[float], None] = time.sleep) -> int:
    """The number of a run of the ledger that is planned, rehearsed and not decided. Asked for where there is none.

    Raises NoWaitingRun with what the portal says.
    """
    there = [run["number"] for run in _get(api, f"/runs?target={TARGET}")["items"] if run["state"] in UNDECIDED]
    number: int = there[0] if there else _asked(api)
    give_up_at = time.monotonic() + PATIENCE_S
    while not _is_rehearsed(api, number):
        if time.monotonic() >= give_up_at:
            raise NoWaitingRun(f"Waited {PATIENCE_S:.0f} s for run {number} to be planned and rehearsed.")
        pause(0.5)
    return number


def _asked(api: httpx.Client) -> int:
    reason = "Amounts above two billion do not fit."
    answer = api.post("/runs", json={"target": TARGET, "revision": "head", "reason": reason})
    if answer.status_code != 201:
        raise NoWaitingRun(f"An upgrade of {TARGET} could not be asked for: {answer.text[:500]}")
    number: int = answer.json()["number"]
    return number


def _is_rehearsed(api: httpx.Client, number: int) -> bool:
    run = _get(api, f"/runs/{number}")
    if run["state"] not in UNDECIDED:
        raise NoWaitingRun(f"Run {number} of {TARGET} waits for nobody: {run['sentence']}")
    rehearsals = _get(api, f"/runs/{number}/rehearsals")
    return bool(rehearsals) and rehearsals[0]["state"] == "ended"


def _get(api: httpx.Client, path: str) -> Any:
    answer = api.get(path)
    if answer.status_code != 200:
        raise NoWaitingRun(f"GET {path} answered {answer.status_code}: {answer.text[:500]}")
    return answer.json()
