"""How far a revision can be taken back, by what was seen when it was: exact, lossy, impossible, or not tested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing import wording
from migrations_audit.engine.rehearsing.types import Statement, Step
from migrations_audit.engine.types import Change
from migrations_audit.states import Grade

MOST_NAMED: Final = 8
_HOLDS_DATA: Final = re.compile(r"(table|column|materialized view|foreign table) (.+)", re.DOTALL)


@dataclass(frozen=True)
class Graded:
    """``reasons`` are sentences: what is lost, what is left behind, or why it cannot be taken back."""

    grade: Grade
    reasons: tuple[str, ...] = ()


def grade(forward: Step, back: Step | None, *, problem: str, has_downgrade: bool, version_table: str) -> Graded:
    """Grade one revision. ``back`` is its downgrade as it was played, or None where it did not come to that.

    ``problem`` is why the way back failed in it. Something lost is a table or column whose data goes, in either direction.
    """
    if problem:
        return Graded(Grade.IMPOSSIBLE, (f"Its downgrade failed on the copy: {problem}",))
    made = _of_project(forward.changes, version_table)
    if not has_downgrade:
        does_nothing = not made and not _written(forward.statements, version_table)
        if does_nothing and back is not None and back.ended:
            return Graded(Grade.EXACT)
        return Graded(Grade.IMPOSSIBLE, ("Its downgrade is absent or empty, so that nothing is taken back.",))
    if back is None or not back.ended:
        return Graded(Grade.UNTESTED, ("Its downgrade was not played, because one that comes before it failed.",))
    if made and not _of_project(back.changes, version_table):
        return Graded(Grade.IMPOSSIBLE, ("Its downgrade ran and changed nothing: what the upgrade made stays.",))
    reasons = [*lost(forward, back, version_table), *_left_behind(_left(forward, back, version_table))]
    return Graded(Grade.LOSSY if reasons else Grade.EXACT, tuple(reasons))


def lost(forward: Step, back: Step | None, version_table: str) -> list[str]:
    """The data that goes, as sentences: with the step, with its way back, and what the way back does not restore."""
    reasons = []
    does, other = ("upgrade", "downgrade") if forward.direction == "upgrade" else ("downgrade", "upgrade")
    if gone := _data_removed(forward.changes):
        reasons.append(f"The {does} removes data that no {other} brings back: {_listed(gone)}.")
    if back is not None and (gone := _data_removed(back.changes)):
        reasons.append(f"The {other} removes what was written since: {_listed(gone)}.")
    if changed := _retyped(forward.changes):
        reasons.append(
            f"The {does} converts values, and the {other} may not give the old ones back: {_listed(changed)}."
        )
    if written := _written(forward.statements, version_table):
        reasons.append(f"The {does} changes data, which the {other} does not put back as it was: {_listed(written)}.")
    return reasons


def worse(one: Graded, other: Graded) -> Graded:
    """The worse of both, with the reasons of both."""
    grade = worst((one.grade, other.grade))
    return Graded(one.grade if grade is None else grade, (*one.reasons, *other.reasons))


def worst(grades: Iterable[Grade]) -> Grade | None:
    """The grade of a whole plan."""
    order = (Grade.IMPOSSIBLE, Grade.UNTESTED, Grade.LOSSY, Grade.EXACT)
    return min(grades, key=order.index, default=None)


def _of_project(changes: Iterable[Change], version_table: str) -> tuple[Change, ...]:
    """Without Alembic's own table, which comes with the first revision and stays."""
    return tuple(change for change in changes if not is_of_table(change.key, version_table))


def is_of_table(key: str, table: str) -> bool:
    """Whether a catalog key is that of ``table`` or of one of its parts, in any schema."""
    kind, _, qualified = key.partition(" ")
    names = catalog.names(qualified)
    if kind == "table":
        return len(names) == 2 and names[1] == table
    if kind in ("column", "constraint"):
        return len(names) == 3 and names[1] == table
    return kind == "index" and len(names) == 2 and names[1] == f"{table}_pkc"


def _data_removed(changes: Sequence[Change]) -> list[str]:
    """Tables, and columns of tables that stay."""
    tables = {
        change.key.partition(" ")[2] for change in changes if change.sign == "-" and change.key.startswith("table ")
    }
    gone = []
    for change in changes:
        found = _HOLDS_DATA.fullmatch(change.key)
        if change.sign == "-" and found and not (found[1] == "column" and catalog.table_of(found[2]) in tables):
            gone.append(change.key)
    return gone


def _retyped(changes: Sequence[Change]) -> list[str]:
    return [
        f"{change.key} ({_type(change.before)} → {_type(change.after)})"
        for change in changes
        if change.sign == "~" and change.key.startswith("column ") and _type(change.before) != _type(change.after)
    ]


def _type(definition: str) -> str:
    return re.split(r" (?:collate|not null|generated|default)\b", definition, maxsplit=1)[0]


def _written(statements: Sequence[Statement], version_table: str) -> list[str]:
    found = [each.text for each in statements if wording.writes_data(each.text, besides=version_table)]
    return [" ".join(text.split())[:80] for text in found]


def _left(forward: Step, back: Step, version_table: str) -> list[Change]:
    """What differs after the downgrade. What did before it already was left by the downgrade of a later revision."""
    of_later_ones = set(catalog.diff(forward.after, back.before))
    left = _of_project(catalog.diff(forward.before, back.after), version_table)
    return [change for change in left if change not in of_later_ones]


def _left_behind(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    return [f"After the downgrade the catalog differs from before: {_listed([str(change) for change in changes])}."]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'; '.join(names[:MOST_NAMED])}{more}"
