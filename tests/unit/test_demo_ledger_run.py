"""The ledger's run that pictures are taken of: one that waits for approval is taken, else one is asked for."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from opsportal.demo import ledger_run


class Portal:
    """An API that answers as the portal would; each look at a run brings it one state further."""

    def __init__(self, *states: str, runs: list[dict[str, Any]] | None = None) -> None:
        self._states = list(states)
        self._runs = runs or []
        self.asked: list[dict[str, Any]] = []
        self.api = httpx.Client(base_url="http://portal/api/v1", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        if request.method == "POST":
            self.asked.append(json.loads(request.content))
            return httpx.Response(201, json={"number": 9})
        if path == "/runs":
            return httpx.Response(200, json={"items": self._runs})
        if path.endswith("/rehearsals"):
            return httpx.Response(200, json=[{"state": "ended"}] if not self._states else [])
        return httpx.Response(
            200, json={"state": self._states.pop(0) if self._states else "awaiting_approval", "sentence": "No."}
        )


def waiting(portal: Portal) -> int:
    return ledger_run.waiting(portal.api, pause=lambda _: None)


def test_one_is_asked_for_and_waited_for_until_it_is_rehearsed() -> None:
    portal = Portal("requested", "planning", "awaiting_approval")

    assert waiting(portal) == 9

    (asked,) = portal.asked
    assert (asked["target"], asked["revision"]) == ("ledger/production/main", "head")


def test_the_one_that_waits_already_is_taken() -> None:
    runs = [{"number": 8, "state": "withdrawn"}, {"number": 7, "state": "awaiting_approval"}]
    portal = Portal(runs=runs)

    assert waiting(portal) == 7
    assert portal.asked == []


def test_one_that_could_not_be_planned_is_told() -> None:
    with pytest.raises(ledger_run.NoWaitingRun, match="waits for nobody: No"):
        waiting(Portal("requested", "plan_failed"))


def test_one_that_never_gets_there_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_run, "PATIENCE_S", 0.0)

    with pytest.raises(ledger_run.NoWaitingRun, match="to be planned and rehearsed"):
        waiting(Portal("requested", "planning"))
