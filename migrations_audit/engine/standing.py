"""What one reading of a target says against one snapshot. How old the reading is belongs to whoever asks."""

from __future__ import annotations

from migrations_audit.engine import graph as graphs
from migrations_audit.engine import types
from migrations_audit.engine.position import Position, UnknownRevision, listed
from migrations_audit.requests import RevisionRefused
from migrations_audit.states import Operation, TargetStatus


def standing(
    graph: types.Graph, revisions: tuple[str, ...] | None, *, other: types.Graph | None = None
) -> types.Standing:
    """Where rows that were read stand: ``revisions`` is None without a version table and empty for an empty one.

    In this order, the first that is true:

    * ``unreadable_scripts``: the graph has a fatal problem, so nothing can be said.
    * ``not_initialised``: no table or no row. Everything is pending.
    * ``ahead``: a row is unknown here, but ``other``, the graph of another snapshot of the same project, knows every row and
      says that the target has every head of this graph.
    * ``unknown_revision``: a row is unknown, or the rows contradict each other (one comes below another).
    * ``in_sync``: nothing is pending.
    * ``several_heads``: something is pending, there are several heads, and they are not branches on purpose, that is, each
      with a label of its own. Somebody must say which one, or merge them.
    * ``behind``: something is pending.

    ``pending`` is empty where it cannot be known, which is never the same as in sync. Nothing is raised.
    """
    broken = graphs.fatal(graph)
    if broken:
        return types.Standing(TargetStatus.UNREADABLE_SCRIPTS, (), graph.heads, broken[0].sentence)
    try:
        pending = Position(graph, revisions or ()).path(Operation.UPGRADE, graph.heads)
    except UnknownRevision as error:
        return _unknown(graph, revisions or (), error, other)
    except RevisionRefused as error:
        return types.Standing(TargetStatus.UNKNOWN_REVISION, (), graph.heads, error.message)
    waiting = f"{len(pending)} {'revision' if len(pending) == 1 else 'revisions'} pending"
    if not revisions:
        why = "the version table is empty" if revisions is not None else "there is no version table"
        status, sentence = TargetStatus.NOT_INITIALISED, f"not initialised: {why}, {waiting}"
    elif not pending:
        status, sentence = TargetStatus.IN_SYNC, f"in sync: at {listed(revisions)}"
    elif len(graph.heads) > 1 and not _on_purpose(graph):
        status, sentence = (
            TargetStatus.SEVERAL_HEADS,
            f"several heads: {listed(graph.heads)}; {waiting}, first {pending[0]}",
        )
    else:
        status, sentence = TargetStatus.BEHIND, f"behind: {waiting}, first {pending[0]}"
    return types.Standing(status, pending, graph.heads, sentence)


def applied(graph: types.Graph, rows: tuple[str, ...] | None) -> frozenset[str] | None:
    """Every revision that a target with these rows has; None where the graph does not know a row, or they contradict it."""
    try:
        return Position(graph, rows or ()).applied
    except RevisionRefused:
        return None


def _unknown(
    graph: types.Graph, revisions: tuple[str, ...], error: UnknownRevision, other: types.Graph | None
) -> types.Standing:
    try:
        ahead = other is not None and Position(other, revisions).applied >= set(graph.heads)
    except RevisionRefused:
        ahead = False
    if ahead:
        sentence = f"ahead: at {listed(revisions)}, beyond {listed(graph.heads)}, the last revision of this snapshot"
        return types.Standing(TargetStatus.AHEAD, (), graph.heads, sentence)
    sentence = f"unknown revision: {listed(error.revisions)} is in no file of this snapshot"
    return types.Standing(TargetStatus.UNKNOWN_REVISION, (), graph.heads, sentence)


def _on_purpose(graph: types.Graph) -> bool:
    known = graphs.revision_map(graph)
    labels = [each.branch_labels for each in map(known.get_revision, graph.heads) if each is not None]
    return all(own - set().union(*(them for them in labels if them is not own)) for own in labels)
