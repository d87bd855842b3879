"""How far a revision can be taken back, by what was seen when it was: exact, lossy, impossible, or not tested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit import listing
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
        unseen = any(wording.leaves_no_trace(each.text) for each in forward.statements)
        if not (made or unseen or _written(forward, version_table)) and back is not None and back.ended:
            return Graded(Grade.EXACT)
        return Graded(Grade.IMPOSSIBLE, ("Its downgrade is absent or empty, so that nothing is taken back.",))
    if back is None or not back.ended:
        return Graded(Grade.UNTESTED, ("Its downgrade was not played, because one that comes before it failed.",))
    if made and not _of_project(back.changes, version_table):
        return Graded(Grade.IMPOSSIBLE, ("Its downgrade ran and changed nothing: what the upgrade made stays.",))
    reasons = [*lost(forward, back, version_table), *_left_behind(_left(forward, back, version_table))]
    return Graded(Grade.LOSSY if reasons else Grade.EXACT, tuple(reasons))


def of_rollback(step: Step, *, has_downgrade: bool, version_table: str) -> Graded:
    """Grade a downgrade that is itself the plan: by what it takes away, and whether it takes anything back."""
    if not has_downgrade:
        return Graded(Grade.IMPOSSIBLE, ("Its downgrade is absent or empty, so that nothing is taken back.",))
    reasons = tuple(lost(step, None, version_table))
    if reasons or _of_project(step.changes, version_table):
        return Graded(Grade.LOSSY if reasons else Grade.EXACT, reasons)
    return Graded(
        Grade.UNTESTED,
        ("Its downgrade changed nothing that is compared, so nothing shows that it takes anything back.",),
    )


def lost(forward: Step, back: Step | None, version_table: str) -> list[str]:
    """The data that goes, as sentences: with the step, with its way back, and what the way back does not restore."""
    reasons = []
    does, other = ("upgrade", "downgrade") if forward.direction == "upgrade" else ("downgrade", "upgrade")
    if gone := _data_removed(forward):
        reasons.append(f"The {does} removes data that no {other} brings back: {_listed(gone)}.")
    if back is not None and (gone := _data_removed(back)):
        reasons.append(f"The {other} removes what was written since: {_listed(gone)}.")
    if made_anew := _made_anew(forward):
        reasons.append(f"The {does} drops and makes anew, and what was in it goes: {_listed(made_anew)}.")
    if changed := _retyped(forward):
        reasons.append(
            f"The {does} converts values, and the {other} may not give the old ones back: {_listed(changed)}."
        )
    if written := _written(forward, version_table):
        reasons.append(f"The {does} changes data, which the {other} does not put back as it was: {_listed(written)}.")
    if back is not None and (written := _written(back, version_table)):
        reasons.append(f"The {other} changes data, also what was written since: {_listed(written)}.")
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


def removed(step: Step) -> list[Change]:
    """Tables, and columns of tables that stay, that are gone. What only got another name or schema is still there."""
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    for each in step.statements:
        names |= wording.renamed(each.text)
    added = {short for change in step.changes if change.sign == "+" and (short := _short(change.key))}
    gone = [change for change in step.changes if change.sign == "-" and _short(change.key)]
    lost = [change for change in gone if _renamed(_short(change.key), names) not in added]
    tables = {catalog.names(_name(change)) for change in lost if len(_short(change.key)) == 1}
    return [
        change for change in lost if len(_short(change.key)) == 1 or catalog.names(_name(change))[:-1] not in tables
    ]


def _renamed(short: tuple[str, ...], names: Mapping[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
    """The name that a table or column has at last; empty where neither it nor its table got another name or schema."""
    if short[:1] not in names and short not in names:
        return ()
    tables = [short[:1]]
    while (after := names.get(tables[-1], tables[-1])) not in tables:
        tables.append(after)
    columns = list(short[1:])
    while columns:
        after = next(
            (names[*table, columns[-1]] for table in tables if (*table, columns[-1]) in names), ("", columns[-1])
        )
        if after[1] in columns:
            break
        columns.append(after[1])
    return (*tables[-1], *columns[-1:])


def _data_removed(step: Step) -> list[str]:
    return [change.key for change in removed(step)]


def _made_anew(step: Step) -> list[str]:
    """Tables and columns that were there, were dropped, and are there again: the catalog alone does not tell them."""
    dropped = set[tuple[str, ...]]().union(*(wording.dropped(each.text) for each in step.statements))
    return [key for key in step.before if key in step.after and _short(key) in dropped]


def _name(change: Change) -> str:
    found = _HOLDS_DATA.fullmatch(change.key)
    return found[2] if found else ""


def _short(key: str) -> tuple[str, ...]:
    """(table,) or (table, column) of a key that holds data, without the schema; nothing for any other."""
    found = _HOLDS_DATA.fullmatch(key)
    return catalog.names(found[2])[1:] if found else ()


def _retyped(step: Step) -> list[str]:
    changed = [
        f"{change.key} ({_type(change.before)} → {_type(change.after)})"
        for change in step.changes
        if change.sign == "~" and change.key.startswith("column ") and _type(change.before) != _type(change.after)
    ]
    by_expression = [each for each in step.statements if each.rewrites and wording.converts(each.text)]
    return changed or [_gist(each) for each in by_expression]


def _type(definition: str) -> str:
    return re.split(r" (?:collate|not null|generated|default)\b", definition, maxsplit=1)[0]


def _written(step: Step, version_table: str) -> list[str]:
    """The statements that change rows: by their words, by the lock that a change of rows takes, or unread to their end."""
    return [
        _gist(each)
        for each in step.statements
        if each.cut or wording.writes_data(each.text, besides=version_table) or _holds_rows(each, version_table)
    ]


def _holds_rows(statement: Statement, version_table: str) -> bool:
    """Whatever changes rows of a table holds this lock on it: a function and a raw cursor too."""
    return any(
        lock.mode == "RowExclusiveLock" and catalog.names(lock.relation)[-1] != version_table
        for lock in statement.locks
    )


def _gist(statement: Statement) -> str:
    return " ".join(statement.text.split())[:80]


def _left(forward: Step, back: Step, version_table: str) -> list[Change]:
    """What differs after the downgrade. What did before it already was left by the downgrade of a later revision."""
    of_later_ones = set(catalog.diff(forward.after, back.before))
    left = _of_project(catalog.diff(forward.before, back.after), version_table)
    return [change for change in left if change not in of_later_ones]


def _left_behind(changes: Sequence[Change]) -> list[str]:
    if not changes:
        return []
    return [f"After the downgrade the catalog differs from before: {_listed(changes)}."]


def _listed(names: Sequence[object]) -> str:
    return listing.listed(names, MOST_NAMED, between="; ")
