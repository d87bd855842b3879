"""Rivals: the same moment on several threads, each with a database connection of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import connection, connections

from migrations_audit.errors import PortalError

ROUNDS = 20
WITHIN_S = 60.0


@dataclass
class Outcome:
    """What one rival got: a value, or the error that refused it."""

    value: Any = None
    error: Exception | None = None


def race(*calls: Callable[[], Any]) -> list[Outcome]:
    """Let all calls begin at one barrier, wait for all of them, and return what each got, in their order."""
    barrier = threading.Barrier(len(calls))
    outcomes = [Outcome() for _ in calls]

    def run(call: Callable[[], Any], outcome: Outcome) -> None:
        try:
            connection.ensure_connection()
            barrier.wait(WITHIN_S)
            outcome.value = call()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            outcome.error = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in zip(calls, outcomes, strict=True)]
    for thread in threads:
        thread.start()
    give_up_at = time.monotonic() + WITHIN_S
    for thread in threads:
        thread.join(max(0.0, give_up_at - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), f"A rival is still at it after {WITHIN_S:g} s."
    return outcomes


def refusals(outcomes: list[Outcome]) -> list[PortalError]:
    """The errors of the losers, each of which must be one that a caller can expect, with a sentence."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in errors:
        assert isinstance(error, PortalError), f"A loser got {type(error).__name__}: {error}"
        assert error.message.strip(), type(error).__name__
    return [error for error in errors if isinstance(error, PortalError)]


def one_winner(outcomes: list[Outcome]) -> Any:
    """The value of the only winner."""
    refusals(outcomes)
    winners = [outcome.value for outcome in outcomes if outcome.error is None]
    assert len(winners) == 1, f"{len(winners)} of {len(outcomes)} rivals won."
    return winners[0]
