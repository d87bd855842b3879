"""From what a person asked for to exact steps: full revision ids, in Alembic's order, and the rows that must result.

What a request may look like is decided in ``request``; order and rows are Alembic's own arithmetic in ``position``. This module
finds the revisions that are meant, and refuses every request that could mean two things.
"""

from __future__ import annotations

from collections.abc import Sequence

from migrations_audit import requests
from migrations_audit.engine import types
from migrations_audit.engine.position import Position, listed
from migrations_audit.engine.position import UnknownRevision as UnknownRevision
from migrations_audit.requests import RevisionRefused as RevisionRefused
from migrations_audit.states import Operation


def resolve(graph: types.Graph, *, operation: Operation, requested: str, current: tuple[str, ...]) -> types.Resolution:
    """What Alembic would do for ``requested`` on a target whose version table holds ``current`` (empty for none).

    ``steps`` are in Alembic's order; where branches run side by side another process of Alembic may order them
    differently, never a revision before what it rests on. A step's direction is ``upgrade`` or ``downgrade``.
    ``argument`` gives the one text to hand to Alembic.

    Raises UnknownRevision when a current row is no revision of the graph, and RevisionRefused with one of the codes
    ``empty_request``, ``request_too_long``, ``bad_request``, ``wrong_direction``, ``unreadable_scripts``,
    ``overlapping_rows``, ``no_such_revision``, ``no_such_label``, ``ambiguous_revision``, ``several_heads``,
    ``not_on_branch``, ``too_far``, ``ambiguous_walk``, ``already_applied``, ``not_applied``, ``nothing_to_do``,
    ``already_noted`` (an adoption) and ``not_plannable`` (Alembic itself stops there).
    """
    asked = requests.parse(operation, requested)
    position = Position(graph, current)
    names = _Names(position)
    if operation is Operation.ADOPT:
        return _adoption(position, names.above(asked), requested)
    destination = names.above(asked) if operation is Operation.UPGRADE else names.below(asked)
    ids = position.path(operation, destination)
    if not ids:
        raise _nothing(operation, destination, position.rows)
    if operation is Operation.ROLLBACK and asked.count and len(ids) != asked.count:
        raise RevisionRefused(
            "ambiguous_walk",
            f"{requested} would take back {len(ids)} revisions, because others rest on the same one: {listed(ids)}. "
            "Name the revision to go back to.",
        )
    return types.Resolution(
        operation=operation,
        requested=requested,
        start=tuple(sorted(current)),
        destination=destination,
        result=position.rows_after(operation, ids),
        steps=_steps(graph, ids, operation),
    )


def _adoption(position: Position, destination: tuple[str, ...], requested: str) -> types.Resolution:
    """Only the version table is written: one step for each row that it will hold, and no revision is executed."""
    if position.rows:
        raise RevisionRefused(
            "already_noted",
            f"The target is at {listed(position.rows)} already. Adopting is for a database whose revision nobody noted; "
            "plan an upgrade.",
        )
    result = position.rows_after(Operation.UPGRADE, position.path(Operation.UPGRADE, destination))
    known = position.graph.by_id()
    return types.Resolution(
        operation=Operation.ADOPT,
        requested=requested,
        start=(),
        destination=destination,
        result=result,
        steps=tuple(
            types.Step(
                position=number,
                revision=name,
                down_revisions=known[name].down_revisions,
                direction="stamp",
                message=known[name].message,
                path=known[name].path,
                sha256=known[name].sha256,
                transactional=True,
            )
            for number, name in enumerate(destination, start=1)
        ),
    )


def argument(resolution: types.Resolution) -> str:
    """The one text for Alembic's upgrade or downgrade command: a full revision id, ``base``, or ``heads``.

    Several destinations are always all effective heads of the snapshot. Alembic takes them in one call, and so in one
    transaction, only under the name ``heads``; in the same snapshot that name means the same revisions.
    """
    return resolution.destination[0] if len(resolution.destination) == 1 else "heads"


def pending(graph: types.Graph, current: tuple[str, ...]) -> tuple[str, ...]:
    """The revisions that a target at ``current`` lacks, in the order in which ``heads`` would apply them.

    Raises UnknownRevision, and RevisionRefused for ``unreadable_scripts`` and ``overlapping_rows``.
    """
    return Position(graph, current).path(Operation.UPGRADE, graph.heads)


def _nothing(operation: Operation, destination: Sequence[str], rows: Sequence[str]) -> RevisionRefused:
    if operation is Operation.ROLLBACK:
        sentence = (
            f"Nothing to take back: the target is at {listed(rows)}, where nothing follows {listed(destination)}."
        )
        return RevisionRefused("nothing_to_do", sentence)
    if set(destination) <= set(rows):
        return RevisionRefused("nothing_to_do", f"Nothing to apply: the target is at {listed(rows)} already.")
    sentence = f"Nothing to apply: the target is at {listed(rows)}, which includes {listed(destination)}."
    return RevisionRefused("already_applied", sentence)


def _steps(graph: types.Graph, ids: Sequence[str], operation: Operation) -> tuple[types.Step, ...]:
    known = graph.by_id()
    return tuple(
        types.Step(
            position=position,
            revision=name,
            down_revisions=known[name].down_revisions,
            direction="upgrade" if operation is Operation.UPGRADE else "downgrade",
            message=known[name].message,
            path=known[name].path,
            sha256=known[name].sha256,
            transactional=known[name].transactional,
        )
        for position, name in enumerate(ids, start=1)
    )


class _Names:
    """Finds the full ids that a request means, from where the target is."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self._rows = position.rows
        self._graph = position.graph
        self._known = position.graph.by_id()

    def above(self, asked: requests.Request) -> tuple[str, ...]:
        if asked.count:
            return (self._walked_up(asked.count),)
        if asked.label:
            return (self._on_branch(asked.label, asked.name),)
        if asked.name in ("head", "heads"):
            if asked.name == "head" and len(self._graph.heads) > 1:
                raise RevisionRefused(
                    "several_heads",
                    f"There are several heads: {listed(self._graph.heads)}. Ask for heads, for one of them, or for label@head.",
                )
            return self._graph.heads
        return (self._found(asked.name),)

    def below(self, asked: requests.Request) -> tuple[str, ...]:
        if asked.count:
            return (self._walked_down(asked.count),)
        if asked.name == "base":
            return ("base",)
        found = self._found(asked.name)
        if found not in self._position.applied:
            raise RevisionRefused(
                "not_applied",
                f"{found} is not applied: the target is at {listed(self._rows)}. To reach it, use Plan upgrade.",
            )
        return (found,)

    def _found(self, name: str) -> str:
        if name in self._known:
            return name
        if name in self._labels():
            raise RevisionRefused("no_such_revision", f"{name} is a branch label, no revision. Ask for {name}@head.")
        begins = [each for each in sorted(self._known) if each.startswith(name) and len(name) >= requests.MIN_PREFIX]
        if len(begins) > 1:
            sentence = f"Several revisions begin with {name}: {listed(begins)}. Give the full id."
            raise RevisionRefused("ambiguous_revision", sentence)
        if not begins:
            raise RevisionRefused("no_such_revision", f"This snapshot has no revision {name}. Give the full id of one.")
        return begins[0]

    def _labels(self) -> list[str]:
        return sorted(label for each in self._graph.revisions for label in each.branch_labels)

    def _on_branch(self, label: str, name: str) -> str:
        labels = self._labels()
        if label not in labels:
            known = f"It has {listed(labels)}." if labels else "It has none."
            raise RevisionRefused("no_such_label", f"This snapshot has no branch label {label}. {known}")
        if name != "head":
            found = self._found(name)
            if not self._position.map.filter_for_lineage((found,), label):
                raise RevisionRefused("not_on_branch", f"Revision {found} is not on the branch {label}.")
            return found
        heads = self._position.map.filter_for_lineage(self._position.map.heads, label)
        if len(heads) > 1:
            raise RevisionRefused(
                "several_heads", f"The branch {label} has several heads: {listed(heads)}. Ask for one of them."
            )
        return heads[0]

    def _only_row(self, asked: str) -> str | None:
        if len(self._rows) > 1:
            raise RevisionRefused(
                "ambiguous_walk",
                f"{asked} is ambiguous: the target is at {listed(self._rows)}. Name the revision to go to.",
            )
        return self._rows[0] if self._rows else None

    def _walked_up(self, count: int) -> str:
        row = self._only_row(f"+{count}")
        following = sorted(self._next(row)) if row else sorted(self._position.map.bases)
        reached = ""
        for passed in range(count):
            if not following:
                raise RevisionRefused(
                    "too_far", f"+{count} goes too far: only {passed} revisions come above {row or 'base'}."
                )
            if len(following) > 1:
                raise RevisionRefused(
                    "ambiguous_walk",
                    f"+{count} is ambiguous: {listed(following)} all come above {reached or row or 'base'}. Name the revision.",
                )
            reached = following[0]
            following = sorted(self._next(reached))
        return reached

    def _next(self, name: str) -> frozenset[str]:
        return frozenset(each.revision for each in self._graph.revisions if name in each.down_revisions)

    def _walked_down(self, count: int) -> str:
        row = self._only_row(f"-{count}")
        reached = row or "base"
        for passed in range(count):
            if reached == "base":
                raise RevisionRefused(
                    "too_far", f"-{count} goes too far: only {passed} revisions are below {row or 'base'}."
                )
            below = self._known[reached].down_revisions
            if len(below) > 1:
                raise RevisionRefused(
                    "ambiguous_walk",
                    f"-{count} is ambiguous: {reached} merges {listed(below)}. Name the revision to go back to.",
                )
            reached = below[0] if below else "base"
        return reached
