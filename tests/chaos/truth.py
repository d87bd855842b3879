"""What a target holds, read without any code of the portal, and whether a run's verdict is true of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg

Mark = tuple[int, str, str, str]
"""Run number, revision, direction, part."""

_JOURNAL = "SELECT run, revision, direction, part, count(*) FROM chaos.journal GROUP BY 1, 2, 3, 4"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
_INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = 'chaos' AND indexname LIKE 'ix_%'"
_RUNNING = "SELECT last_value FROM chaos.last_to_execute"


class Effect(StrEnum):
    """How much of a run's steps is in the target."""

    NONE = "none"
    PART = "part"
    ALL = "all"
    TWICE = "twice"


@dataclass(frozen=True)
class Found:
    """One reading. ``last_to_execute`` is the run whose revision was last begun, even if nothing of it was committed."""

    rows: tuple[str, ...]
    tables: frozenset[str]
    indexes: frozenset[str]
    invalid: tuple[str, ...]
    marks: Mapping[Mark, int]
    last_to_execute: int

    def of_run(self, number: int) -> dict[Mark, int]:
        """The marks of one run."""
        return {mark: count for mark, count in self.marks.items() if mark[0] == number}


@dataclass(frozen=True)
class Way:
    """What a run should do: ``steps`` of ``direction`` lead from ``start`` to ``result`` (the last revision in, or nothing)."""

    order: tuple[str, ...]
    parts: Mapping[str, tuple[str, ...]]
    start: str
    result: str

    @property
    def direction(self) -> str:
        return "upgrade" if self._height(self.result) > self._height(self.start) else "downgrade"

    @property
    def steps(self) -> tuple[str, ...]:
        low, high = sorted((self._height(self.start), self._height(self.result)))
        return self.order[low:high]

    def marks(self, number: int) -> set[Mark]:
        """The marks that the whole of it leaves, each once."""
        return {(number, step, self.direction, part) for step in self.steps for part in self.parts[step]}

    def tables_at(self, revision: str) -> frozenset[str]:
        return frozenset(f"table_{name}" for name in self.order[: self._height(revision)])

    def indexes_at(self, revision: str) -> frozenset[str]:
        return frozenset(f"ix_{name}" for name in self.order[: self._height(revision)] if len(self.parts[name]) > 1)

    def _height(self, revision: str) -> int:
        return self.order.index(revision) + 1 if revision else 0


def read(url: str) -> Found:
    """Read the target of ``url`` in one transaction. Raises psycopg.OperationalError while it does not answer."""
    with psycopg.connect(url, connect_timeout=5, application_name="chaos-truth") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        there = connection.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL").fetchone()
        rows: list[tuple[str]] = []
        if there is not None and there[0]:
            rows = connection.execute("SELECT version_num FROM public.alembic_version").fetchall()
        running = connection.execute(_RUNNING).fetchone()
        marks = {tuple(row[:4]): row[4] for row in connection.execute(_JOURNAL).fetchall()}
        return Found(
            rows=tuple(sorted(row[0] for row in rows)),
            tables=_names(connection, _TABLES),
            indexes=_names(connection, _INDEXES),
            invalid=tuple(sorted(_names(connection, _INVALID))),
            marks=marks,
            last_to_execute=running[0] if running else 0,
        )


def _names(connection: psycopg.Connection[tuple[object, ...]], query: str) -> frozenset[str]:
    return frozenset(str(row[0]) for row in connection.execute(query.encode()).fetchall())


def effect(way: Way, number: int, found: Found) -> Effect:
    """How much of run ``number`` is in the target. Any mark that is there twice decides."""
    mine = found.of_run(number)
    if any(count > 1 for count in mine.values()) or unbalanced(found):
        return Effect.TWICE
    if set(mine) == way.marks(number) and _stands_at(way, way.result, found):
        return Effect.ALL
    if not mine and _stands_at(way, way.start, found):
        return Effect.NONE
    return Effect.PART


def unbalanced(found: Found) -> list[str]:
    """The revisions whose parts are in more than once, or were taken back more often than they were in, whoever did it."""
    net: Counter[tuple[str, str]] = Counter()
    for (_, revision, direction, part), count in found.marks.items():
        net[revision, part] += count if direction == "upgrade" else -count
    return sorted(f"{revision} ({part}) {count}" for (revision, part), count in net.items() if count not in (0, 1))


def _stands_at(way: Way, revision: str, found: Found) -> bool:
    return (
        found.rows == ((revision,) if revision else ())
        and found.tables == way.tables_at(revision)
        and found.indexes == way.indexes_at(revision)
        and not found.invalid
    )


TRUE_OF: Mapping[str, Sequence[Effect]] = {
    "verified": (Effect.ALL,),
    "no_change": (Effect.NONE,),
    "no_effect": (Effect.NONE,),
    "cancelled": (Effect.NONE,),
    "refused": (Effect.NONE,),
    "void": (Effect.NONE,),
    "error": (Effect.NONE,),
    "plan_failed": (Effect.NONE,),
    "partly_applied": (Effect.PART,),
    "possibly_partly_applied": (Effect.NONE, Effect.PART),
}
NEVER_BEGAN = ("refused", "void", "error", "plan_failed")


def fault_in(verdict: str, way: Way, number: int, found: Found) -> str:
    """Why ``verdict`` is not true of the target, or nothing when it is."""
    seen = effect(way, number, found)
    if seen is Effect.TWICE:
        return f"applied twice: {unbalanced(found) or found.of_run(number)}"
    if seen not in TRUE_OF.get(verdict, ()):
        return (
            f"said {verdict}, but {seen} of it is there: rows {found.rows or 'base'}, tables {sorted(found.tables)}, "
            f"invalid {list(found.invalid)}, marks {sorted(mark[1:] for mark in found.of_run(number))}"
        )
    if verdict in NEVER_BEGAN and found.last_to_execute == number:
        return f"said {verdict}, but a revision was begun"
    return ""
