"""Where a target's rows stand in a graph, and what Alembic would pass and write on its way from there.

The arithmetic is Alembic's own, run without a database: its revision map orders the steps, its head maintainer moves the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

from alembic.runtime.migration import HeadMaintainer, RevisionStep
from alembic.script import Script
from alembic.script import revision as alembic_revision

from migrations_audit import listing
from migrations_audit.engine import graph as graphs
from migrations_audit.engine import types
from migrations_audit.requests import RevisionRefused
from migrations_audit.states import Operation


class UnknownRevision(RevisionRefused):
    """The target holds a revision that the snapshot does not have."""

    def __init__(self, revisions: Sequence[str]) -> None:
        super().__init__(
            "unknown_revision",
            f"The target holds {listed(revisions)}, which no file of this snapshot has: it was migrated from other files. "
            "Take a snapshot that has this revision.",
        )
        self.revisions = tuple(revisions)


def listed(ids: Collection[str]) -> str:
    """Some revision ids for a sentence: five at most, and how many more there are."""
    return listing.listed(ids, 5) or "no revision"


class Position:
    """The rows of a target's version table in a graph.

    ``applied`` is every revision that the target has, also those of other branches that came by ``depends_on``; the rows
    alone do not name them all.

    Raises UnknownRevision when a row is no revision of the graph, and RevisionRefused with ``unreadable_scripts`` when the
    graph has a fatal problem and with ``overlapping_rows`` when one row comes below another.
    """

    def __init__(self, graph: types.Graph, rows: tuple[str, ...]) -> None:
        broken = graphs.fatal(graph)
        if broken:
            raise RevisionRefused("unreadable_scripts", f"The scripts cannot be planned. {broken[0].sentence}")
        unknown = sorted(set(rows) - set(graph.by_id()))
        if unknown:
            raise UnknownRevision(unknown)
        self.graph = graph
        self.rows = tuple(sorted(rows))
        self.map = graphs.revision_map(graph)
        below = {row: self._with_ancestors(row) for row in rows}
        doubled = [
            row for row in self.rows if rows.count(row) > 1 or any(row in below[other] for other in {*rows} - {row})
        ]
        if doubled:
            raise RevisionRefused(
                "overlapping_rows",
                f"The version table holds {listed(self.rows)}, but {listed(doubled)} comes below another row or stands twice. "
                "Alembic refuses such a table; find out who wrote the row before you remove it.",
            )
        self.applied = frozenset().union(*below.values())

    def path(self, operation: Operation, destination: tuple[str, ...]) -> tuple[str, ...]:
        """The revisions that Alembic passes on its way, in its order; none when there is nothing between.

        Raises RevisionRefused with ``not_plannable`` where Alembic itself stops.
        """
        try:
            if operation is Operation.UPGRADE:
                found = list(self.map.iterate_revisions(destination, self.rows, implicit_base=True))[::-1]
            else:
                found = list(self.map.iterate_revisions(self.rows, destination[0], select_for_downgrade=True))
        except alembic_revision.RangeNotAncestorError:
            return ()
        except (alembic_revision.RevisionError, AssertionError) as error:
            raise self._not_plannable(destination) from error
        return tuple(each.revision for each in found)

    def rows_after(self, operation: Operation, ids: Sequence[str]) -> tuple[str, ...]:
        """The rows that Alembic leaves after passing these revisions, sorted. Raises as ``path`` does."""
        book = _Book(self.rows)
        try:
            for name in ids:
                book.update_to_step(_Move(self.map, name, operation))
        except (AssertionError, LookupError) as error:
            raise self._not_plannable(ids[-1:]) from error
        return tuple(sorted(book.heads))

    def _with_ancestors(self, row: str) -> frozenset[str]:
        return frozenset(each.revision for each in self.map._get_ancestor_nodes(self.map.get_revisions(row)))

    def _not_plannable(self, destination: Sequence[str]) -> RevisionRefused:
        return RevisionRefused(
            "not_plannable",
            f"Alembic cannot go from {listed(self.rows)} to {listed(destination)} in one run. Go there branch by branch.",
        )


class _Book(HeadMaintainer):
    """Alembic's book-keeping of the version table, without the table."""

    def __init__(self, rows: Collection[str]) -> None:
        self.heads = set(rows)

    def _insert_version(self, version: str) -> None:
        if version in self.heads:
            raise LookupError(version)  # Alembic asserts the same and stops.
        self.heads.add(version)

    def _delete_version(self, version: str) -> None:
        self.heads.remove(version)

    def _update_version(self, from_: str, to_: str) -> None:
        self._delete_version(from_)
        self._insert_version(to_)


class _Move(RevisionStep):
    """One of Alembic's steps without the module that it would run."""

    def __init__(self, revision_map: alembic_revision.RevisionMap, name: str, operation: Operation) -> None:
        self.revision_map = revision_map
        self.revision = cast("Script", revision_map.get_revision(name))
        self.is_upgrade = operation is Operation.UPGRADE
