"""What a rehearsal saw, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrations_audit.engine.rehearsing import wording
from migrations_audit.engine.types import Catalog, Change, Identity
from migrations_audit.engine.urls import TargetUrl


@dataclass(frozen=True)
class Scratch:
    """A server for copies. ``owner`` may create databases there; a ``private`` one exists for this rehearsal alone.

    ``binaries`` is the folder with ``pg_dump`` and ``pg_restore``, or None for those on the worker's PATH.
    """

    owner: TargetUrl
    private: bool
    binaries: Path | None = None


@dataclass(frozen=True)
class Copy:
    """A database with the schema and the version rows of the target, and none of its data.

    ``differences`` are the catalog's, as lines; ``problems`` are the server's words for what could not be copied.
    """

    url: TargetUrl
    identity: Identity
    catalog: Catalog
    differences: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lock:
    """A lock on a relation that was there before the plan. ``mode`` in PostgreSQL's words: ``AccessExclusiveLock``."""

    mode: str
    relation: str


@dataclass
class Statement:
    """One statement as it was executed on the copy. ``unseen``: nobody looked which locks it took.

    ``cut`` is how many characters its text has behind those that were told; ``values``: some were bound to it, and never told.
    """

    text: str
    ms: int = 0
    rowcount: int = -1
    failed: bool = False
    in_autocommit: bool = False
    unseen: bool = False
    cut: int = 0
    values: bool = False
    locks: list[Lock] = field(default_factory=list)
    rewrites: list[str] = field(default_factory=list)

    @property
    def empties(self) -> bool:
        """A TRUNCATE gives a table a new file as well."""
        return wording.empties(self.text)

    def as_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "ms": self.ms,
            "rowcount": self.rowcount,
            "failed": self.failed,
            "in_autocommit": self.in_autocommit,
            "cut": self.cut,
            "has_values": self.values,
            "locks": [[lock.mode, lock.relation] for lock in self.locks],
            "rewrites": self.rewrites,
        }


@dataclass
class Step:
    """One revision in one direction: its statements and what it made of the catalog.

    ``untold`` is how many statements came after so many that they were only counted.
    """

    revision: str
    direction: str
    statements: list[Statement] = field(default_factory=list)
    untold: int = 0
    ms: int = 0
    ended: bool = False
    autocommit_blocks: int = 0
    before: Mapping[str, str] = field(default_factory=dict, repr=False)
    after: Mapping[str, str] = field(default_factory=dict, repr=False)
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Pass:
    """One call of Alembic on the copy: ``problem`` says in one sentence why it did not come to its end, or nothing."""

    steps: tuple[Step, ...]
    problem: str = ""
    code: str = ""
    sqlstate: str = ""
    uninspected: str = ""
    """Why locks and catalogs are not known from some moment on."""

    @property
    def came_to_its_end(self) -> bool:
        return not self.problem
