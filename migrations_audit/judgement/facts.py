"""What goes into a judgement, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from migrations_audit.states import Outcome, RunState, Verdict


@dataclass(frozen=True)
class Check:
    """One line of evidence before it is stored."""

    name: str
    expected: str
    observed: str
    outcome: Outcome
    detail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Witness:
    """What the runner said about itself. ``None`` where nobody heard it (a lost worker)."""

    exit_code: int | None = None
    ended_by: str = ""
    refusal: str = ""
    error: str = ""
    steps_ended: int = 0
    connected: bool = False
    commit_after_version: bool | None = None
    version_written: bool | None = None
    cancel_requested: bool = False
    by_reconciliation: bool = False
    touched: bool = True
    """False when it is certain that the project got no connection, or that all it sent by one was rolled back."""
    begun: bool = False
    """True when a revision was begun, whatever became of it: such a run was not refused."""


@dataclass(frozen=True)
class Facts:
    """What was planned, and what was read on a fresh connection."""

    target: str
    start: tuple[str, ...]
    result: tuple[str, ...]
    steps: tuple[str, ...]
    all_transactional: bool
    rows: tuple[str, ...] | None
    identity_differences: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    new_invalid_indexes: tuple[str, ...] = ()
    prepared_transactions: tuple[str, ...] = ()
    catalog_known_before: bool = True
    fingerprint: str = ""
    fingerprint_seen_at_result: str = ""
    promised_tables: int = 0
    broken_promises: tuple[str, ...] = ()
    rehearsal: str = ""
    """The rehearsal whose changes must have come true, and nothing else; empty where the plan has none that passed."""
    rehearsed_objects: int = 0
    rehearsal_differences: tuple[str, ...] = ()
    rolls_back: str = ""
    """The run whose objects must be as they were before it; empty for what rolls no run back."""
    not_as_before: tuple[str, ...] = ()
    before_not_known: str = ""
    """Why the catalog of before that run could not be compared."""
    adopts: bool = False
    """Nothing but the version table may have changed; it is left out of ``changes`` then."""
    reference: str = ""
    reference_differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    state: RunState
    verdict: Verdict
    code: str
    sentence: str
    checks: tuple[Check, ...] = field(default=())


def rows_text(rows: Sequence[str] | None) -> str:
    """Version rows for people."""
    if rows is None:
        return "base (no version table)"
    return ", ".join(rows) if rows else "base (empty version table)"


def same_rows(found: tuple[str, ...] | None, expected: tuple[str, ...]) -> bool:
    """An absent version table and an empty one are both base."""
    return sorted(found or ()) == sorted(expected)
