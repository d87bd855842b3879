"""How far a revision can be taken back, by what was seen when it was: exact, lossy, impossible, or not tested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit.engine import catalog
from migrations_audit.engine.rehearsing.types import Statement, Step
from migrations_audit.engine.types import Change
from migrations_audit.states import Grade

MOST_NAMED: Final = 8
_WRITES_DATA: Final = re.compile(
    r"\s*(?:WITH\b.*?\b)?(INSERT|UPDATE|DELETE|TRUNCATE|MERGE|COPY)\b", re.IGNORECASE | re.DOTALL
)
_HOLDS_DATA: Final = re.compile(r"(table|column|materialized view|foreign table) (.+)", re.DOTALL)


@dataclass(frozen=True)
class Graded:
    """``reasons`` are sentences: what is lost, what is left behind, or why it cannot be taken back."""

    grade: Grade
    reasons: tuple[str, ...] = ()


def grade(forward: Step, back: Step | None, *, problem: str, has_downgrade: bool, version_table: str) -> Graded:
    """Grade one revision. ``back`` is its downgrade as it was played, or None where it did not come to that.

    ``problem`` is why the way back ended in it. Something lost is a table or column whose data goes, in either direction.
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
    left = _of_project(catalog.diff(forward.before, back.after), version_table)
    if made and not _of_project(back.changes, version_table):
        return Graded(Grade.IMPOSSIBLE, ("Its downgrade ran and changed nothing: what the upgrade made stays.",))
    reasons = [*lost(forward, back, version_table), *_left_behind(left)]
    return Graded(Grade.LOSSY if reasons else Grade.EXACT, tuple(reasons))


def lost(forward: Step, back: Step | None, version_table: str) -> list[str]:
    """The data that goes, as sentences: with the upgrade, with its downgrade, and what a downgrade does not put back."""
    reasons = []
    if gone := _data_removed(forward.changes):
        reasons.append(f"The upgrade removes data that no downgrade brings back: {_listed(gone)}.")
    if back is not None and (gone := _data_removed(back.changes)):
        reasons.append(f"The downgrade removes what was written since: {_listed(gone)}.")
    if changed := _retyped(forward.changes):
        reasons.append(
            f"The upgrade converts values, and a downgrade may not give the old ones back: {_listed(changed)}."
        )
    if written := _written(forward.statements, version_table):
        reasons.append(f"The upgrade changes data, which a downgrade does not put back as it was: {_listed(written)}.")
    return reasons


def worst(grades: Iterable[Grade]) -> Grade | None:
    """The grade of a whole plan."""
    order = (Grade.IMPOSSIBLE, Grade.UNTESTED, Grade.LOSSY, Grade.EXACT)
    return min(grades, key=order.index, default=None)


def writes_data(text: str) -> bool:
    """Whether a statement changes rows."""
    return _WRITES_DATA.match(text) is not None


def _of_project(changes: Iterable[Change], version_table: str) -> tuple[Change, ...]:
    """Without Alembic's own table, which comes with the first revision and stays."""
    return tuple(change for change in changes if not is_of_table(change.key, version_table))


def is_of_table(key: str, table: str) -> bool:
    """Whether a catalog key is that of ``table`` or of one of its parts, in any schema."""
    name = re.escape(table)
    return (
        re.search(
            rf'^(?:table|column|constraint|index) (?:.*\.)?"?{name}"?(?:\.|$)|^(?:constraint|index) .*\b{name}_pkc$',
            key,
        )
        is not None
    )


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
    found = [each.text for each in statements if writes_data(each.text) and version_table not in each.text]
    return [" ".join(text.split())[:80] for text in found]


def _left_behind(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    return [f"After the downgrade the catalog differs from before: {_listed([str(change) for change in changes])}."]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'; '.join(names[:MOST_NAMED])}{more}"
