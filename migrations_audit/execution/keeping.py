"""What is kept of a rehearsal for its page: each revision as it was executed, taken back, and applied again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing import grading
from migrations_audit.engine.rehearsing.types import Statement, Step
from migrations_audit.engine.types import Change
from migrations_audit.execution.playing import Played
from migrations_audit.models import Plan

MOST_STATEMENTS: Final = 2_000
MOST_TEXT: Final = 1_000_000
"""Statements, and characters of them, that are kept of a whole rehearsal: a page shows them."""
MOST_CHANGES_SHOWN: Final = 500


class _Room:
    """How many statements, and how much of their text, may still be kept."""

    def __init__(self) -> None:
        self._statements, self._text = MOST_STATEMENTS, MOST_TEXT

    def take(self, statements: Sequence[Statement]) -> list[dict[str, Any]]:
        """Those of a step that are kept."""
        kept: list[dict[str, Any]] = []
        for each in statements:
            self._statements -= 1
            self._text -= len(each.text) + sum(len(lock.relation) for lock in each.locks)
            if self._statements < 0 or self._text < 0:
                break
            kept.append(each.as_dict())
        return kept


def steps(
    played: Played, plan: Plan, graded: Mapping[str, grading.Graded], *, version_table: str
) -> list[dict[str, Any]]:
    """One entry for each revision. The statements of the plan itself are kept before those of any way back.

    ``back`` and ``again`` are None where it did not come to that. What was the same when it was applied again is not kept twice.
    """
    room = _Room()
    there = played.there.steps
    kept = [{**_told(step, room, version_table), **_about(step, plan, graded)} for step in there]
    taken_back, applied_again = played.taken_back, played.applied_again
    for entry, step in zip(kept, there, strict=True):
        back = taken_back.get(step.revision)
        entry["back"] = _told(back, room, version_table) if back is not None else None
    for entry, step in zip(kept, there, strict=True):
        again = applied_again.get(step.revision)
        entry["again"] = _once_more(step, again, room, version_table) if again is not None else None
    return kept


def _about(step: Step, plan: Plan, graded: Mapping[str, grading.Graded]) -> dict[str, Any]:
    grade = graded.get(step.revision)
    return {
        "revision": step.revision,
        "message": (plan.step_for(step.revision) or {}).get("message", ""),
        "direction": step.direction,
        "autocommit_blocks": step.autocommit_blocks,
        "grade": grade.grade.value if grade else "",
        "reasons": list(grade.reasons) if grade else [],
    }


def _told(step: Step, room: _Room, version_table: str) -> dict[str, Any]:
    changes = _changes(step, version_table)
    statements = room.take(step.statements)
    return {
        "ms": step.ms,
        "ended": step.ended,
        "statements": statements,
        "more_statements": len(step.statements) - len(statements) + step.untold,
        "changes": catalog.readable(changes[:MOST_CHANGES_SHOWN]),
    }


def _once_more(first: Step, again: Step, room: _Room, version_table: str) -> dict[str, Any]:
    changes_alike = _changes(again, version_table) == _changes(first, version_table)
    if again.ended and changes_alike and _texts(again) == _texts(first):
        return {"ms": again.ms, "ended": True, "same": True}
    return {**_told(again, room, version_table), "same": False}


def _changes(step: Step, version_table: str) -> list[Change]:
    return [change for change in step.changes if not grading.is_of_table(change.key, version_table)]


def _texts(step: Step) -> tuple[list[tuple[str, int]], int]:
    return [(each.text, each.cut) for each in step.statements], step.untold
