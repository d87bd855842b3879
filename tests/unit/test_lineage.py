"""What a revision rests on in a stored graph."""

from __future__ import annotations

from typing import Any

import pytest

from migrations_audit import lineage


def revision(name: str, *down: str, **more: Any) -> dict[str, Any]:
    return {"revision": name, "down_revisions": list(down), **more}


GRAPH = {
    "revisions": [
        revision("004", "003"),
        revision("003", "002", depends_on=["billing"], branch_labels=[]),
        revision("002b", "001", branch_labels=["billing"]),
        revision("002", "001"),
        revision("001"),
    ]
}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], []),
        (["001"], ["001"]),
        (["002"], ["001", "002"]),
        (["004"], ["001", "002", "002b", "003", "004"]),
        (["002b", "002"], ["001", "002", "002b"]),
        (["billing"], ["001", "002b"]),
        (["elsewhere", "002"], ["001", "002", "elsewhere"]),
    ],
)
def test_each_revision_comes_once_and_after_what_it_rests_on(asked: list[str], expected: list[str]) -> None:
    assert lineage.closure(asked, GRAPH) == expected


def test_a_label_that_is_also_a_revision_is_the_revision() -> None:
    graph = {"revisions": [revision("002", depends_on=["001"]), revision("001"), revision("x", branch_labels=["001"])]}

    assert lineage.closure(["002"], graph) == ["001", "002"]


def test_a_circle_ends() -> None:
    graph = {"revisions": [revision("001", "002"), revision("002", "001")]}

    assert sorted(lineage.closure(["002"], graph)) == ["001", "002"]


def test_a_graph_that_could_not_be_read_knows_nothing() -> None:
    assert lineage.closure(["001"], {}) == ["001"]
