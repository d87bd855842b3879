"""Where in a plan's SQL something stands: the file of the revision that Alembic was writing out, and the line of its part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from migrations_audit.engine import types
from migrations_audit.engine.findings import splitter

WHOLE: Final = "SQL of the plan"
_MARK: Final = re.compile(r"-- Running (upgrade|downgrade) (.*) -> (.*)")


@dataclass(frozen=True)
class Sections:
    """The parts of a plan's SQL: the path of a revision, and the line behind which its part begins. In order."""

    parts: tuple[tuple[str, int], ...]

    def at(self, line: int) -> str:
        """``versions/003.py, SQL line 4``: counted within the part, so that it is the same in every plan with that revision."""
        path, before = next((part for part in reversed(self.parts) if part[1] < line), (WHOLE, 0))
        return f"{path}, SQL line {line - before}"


Place: TypeAlias = str | Sections


def at(place: Place, line: int) -> str:
    """The place of a line of SQL, from 1."""
    return place.at(line) if isinstance(place, Sections) else f"{place}, line {line}"


def of_plan(sql: str, steps: Sequence[types.Step]) -> Place:
    """The parts of what Alembic wrote in offline mode for these steps.

    Only when its marks are exactly the steps, in their order; a script that writes such marks itself would lead astray.
    """
    marks = [
        (found, sql.count("\n", 0, begin) + 1)
        for begin, end in splitter.comments(sql)
        if (found := _MARK.fullmatch(sql[begin:end].rstrip()))
    ]
    named = [_revisions(found) for found, _ in marks]
    if len(named) != len(steps) or any(step.revision not in each for each, step in zip(named, steps, strict=True)):
        return WHOLE
    return Sections(tuple((step.path, line) for step, (_, line) in zip(steps, marks, strict=True)))


def _revisions(found: re.Match[str]) -> set[str]:
    """The revisions that a mark may be about."""
    side = found[3] if found[1] == "upgrade" else found[2]
    return {each.strip() for each in side.split(",")}
