"""What a rehearsal saw each revision make of the catalog, held against a database: after a run, and at any later reading."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from migrations_audit.engine import catalog
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.rehearsing.grading import is_of_table

MAX_SHOWN: Final = 120
_BY_PRESENCE: Final = ("extension ",)
"""Kinds whose definition differs with what is installed on a server."""
_TELLING: Final = ("table ", "foreign table ", "column ", "view ", "materialized view ")
"""Kinds whose absence means that a revision is not in the database. An index may have been dropped for good reasons."""

Delta = Sequence[Mapping[str, str]]


def differences(
    delta: Delta, before: Mapping[str, str], after: Mapping[str, str], *, version_table: str, by_definition: bool
) -> tuple[str, ...]:
    """What of ``delta`` did not come true between two readings, and what came that is not of it, as sentences.

    ``by_definition``: two servers of one major version write definitions alike, so that these are compared as well.
    """
    found = [line for change in delta if (line := _broken(change, before, after, by_definition=by_definition))]
    expected = {change["key"] for change in delta}
    found += [
        f"{change} was not expected"
        for change in catalog.diff(before, after)
        if change.key not in expected and not is_of_table(change.key, version_table)
    ]
    return tuple(clean(line.replace("\n", "\\n")) for line in found)


def not_as_before(
    earlier: Mapping[str, str],
    keys: Iterable[str],
    found: Mapping[str, str],
    *,
    version_table: str,
) -> tuple[str, ...]:
    """Which of the objects with these ``keys`` are in ``found`` not as they were ``earlier``, as sentences.

    Both were read of one database, so that definitions are compared. Other objects may be as they like.
    """
    asked = [key for key in dict.fromkeys(keys) if not is_of_table(key, version_table)]
    lines = [_unlike(key, earlier.get(key), found, by_definition=True) for key in asked]
    return tuple(clean(line.replace("\n", "\\n")) for line in lines if line)


def promised(deltas: Iterable[tuple[str, Delta]]) -> dict[str, str]:
    """Which revision made each object that must be there, by its key. ``deltas`` are in the order of application."""
    made: dict[str, str] = {}
    for revision, delta in deltas:
        for change in delta:
            if change["sign"] == "-":
                made.pop(change["key"], None)
            elif change["sign"] == "+" and change["key"].startswith(_TELLING):
                made[change["key"]] = revision
    return made


def absent(
    made: Mapping[str, str], body: Mapping[str, str], *, in_any_schema: Collection[str] = ()
) -> dict[str, list[str]]:
    """By revision, what it made and what is not there. A column of an absent table is told with its table.

    What the revisions of ``in_any_schema`` made may be in another schema: they were rehearsed on another target, whose role may
    have another search path.
    """
    bare = {_without_schema(key) for key in body} if in_any_schema else set()
    missing: dict[str, list[str]] = {}
    for key, revision in made.items():
        kind, _, name = key.partition(" ")
        table = f"table {catalog.table_of(name)}" if kind == "column" else ""
        anywhere = revision in in_any_schema
        there = [each in body or (anywhere and _without_schema(each) in bare) for each in (key, table)]
        if not there[0] and (there[1] or not table):
            missing.setdefault(revision, []).append(key)
    return missing


def without_trace(deltas: Iterable[tuple[str, Delta]], body: Mapping[str, str]) -> list[str]:
    """The revisions of which nothing is there: each object that they were the last to change is as it was before them.

    ``deltas`` are in the order of application. A revision that changed nothing of the catalog leaves no trace to look for.
    """
    last: dict[str, tuple[str, Mapping[str, str]]] = {}
    for revision, delta in deltas:
        last.update((change["key"], (revision, change)) for change in delta)
    seen: dict[str, bool] = {}
    for revision, change in last.values():
        seen[revision] = seen.get(revision, False) or not _is_as_before(change, body)
    return [revision for revision, has_trace in seen.items() if not has_trace]


def _is_as_before(change: Mapping[str, str], body: Mapping[str, str]) -> bool:
    found = body.get(change["key"])
    return found is None if change["sign"] == "+" else found == change["before"]


def _without_schema(key: str) -> tuple[str, ...]:
    kind = next((each for each in _TELLING if key.startswith(each)), "")
    return (kind, *catalog.names(key.removeprefix(kind))[1:]) if kind else ()


def _broken(
    change: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str], *, by_definition: bool
) -> str:
    key = change["key"]
    wanted = None if change["sign"] == "-" else change["after"]
    line = _unlike(key, wanted, after, by_definition=by_definition and not key.startswith(_BY_PRESENCE))
    if not line and change["sign"] == "~" and before.get(key) == after[key]:
        return f"{key} is unchanged"
    return line


def _unlike(key: str, wanted: str | None, found: Mapping[str, str], *, by_definition: bool) -> str:
    """How one object is not as wanted; None is wanted where it must not be there."""
    if wanted is None:
        return f"{key} is still there" if key in found else ""
    if key not in found:
        return f"{key} is absent"
    if by_definition and found[key] != wanted:
        return f"{key} differs: expected {_short(wanted)}, found {_short(found[key])}"
    return ""


def _short(definition: str) -> str:
    text = " ".join(definition.split())
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
