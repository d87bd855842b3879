"""What a revision rests on, in the graph that is stored with a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def closure(revisions: Iterable[str], graph: Mapping[str, Any]) -> list[str]:
    """These revisions and all that they rest on, each after what it rests on. A dependency may be named by its label.

    What the graph does not know rests on nothing.
    """
    known = {item["revision"]: item for item in graph.get("revisions", ())}
    labelled = {label: name for name, item in known.items() for label in item.get("branch_labels", ())}
    ordered: list[str] = []
    entered: set[str] = set()
    stack = [(revision, False) for revision in sorted(revisions, reverse=True)]
    while stack:
        name, is_ready = stack.pop()
        revision = name if name in known else labelled.get(name, name)
        if is_ready:
            ordered.append(revision)
            continue
        if revision in entered:
            continue
        entered.add(revision)
        item = known.get(revision, {})
        below = {*item.get("down_revisions", ()), *item.get("depends_on", ())}
        stack += [(revision, True), *((each, False) for each in sorted(below, reverse=True))]
    return ordered
