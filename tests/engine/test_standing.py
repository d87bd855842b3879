"""Where rows that were read stand in a graph."""

from __future__ import annotations

import pytest

from migrations_audit.engine import standing, types
from migrations_audit.states import TargetStatus
from tests.engine import projects
from tests.engine.projects import Spec

CHAIN = projects.chain("001", "002", "003", "004", "005", "80105006e3d3")
FORK = [Spec("root"), Spec("left", ("root",)), Spec("right", ("root",))]
BRANCHES = [Spec("root"), Spec("left", ("root",), labels=("expand",)), Spec("right", ("root",), labels=("contract",))]


def of(specs: list[Spec], *rows: str) -> types.Standing:
    return standing.standing(projects.read(specs), rows)


def test_at_head_is_in_sync() -> None:
    found = of(CHAIN, "80105006e3d3")

    assert (found.status, found.pending, found.heads) == (TargetStatus.IN_SYNC, (), ("80105006e3d3",))
    assert found.sentence == "in sync: at 80105006e3d3"


def test_behind_says_how_many_and_which_comes_first() -> None:
    found = of(CHAIN, "002")

    assert (found.status, found.pending) == (TargetStatus.BEHIND, ("003", "004", "005", "80105006e3d3"))
    assert found.sentence == "behind: 4 revisions pending, first 003"
    assert of(CHAIN, "005").sentence == "behind: 1 revision pending, first 80105006e3d3"


@pytest.mark.parametrize(("rows", "why"), [(None, "there is no version table"), ((), "the version table is empty")])
def test_without_rows_it_is_not_initialised(rows: tuple[str, ...] | None, why: str) -> None:
    found = standing.standing(projects.read(CHAIN), rows)

    assert (found.status, len(found.pending)) == (TargetStatus.NOT_INITIALISED, 6)
    assert found.sentence == f"not initialised: {why}, 6 revisions pending"


def test_a_row_of_no_file_is_an_unknown_revision_and_never_in_sync() -> None:
    found = of(CHAIN, "deadbeef")

    assert (found.status, found.pending) == (TargetStatus.UNKNOWN_REVISION, ())
    assert found.sentence == "unknown revision: deadbeef is in no file of this snapshot"


def test_a_row_is_not_completed_to_a_revision() -> None:
    assert of(CHAIN, "80105006").status is TargetStatus.UNKNOWN_REVISION


def test_ahead_needs_another_snapshot_that_knows_the_row() -> None:
    newer = projects.read(CHAIN)

    found = standing.standing(projects.read(CHAIN[:3]), ("005",), other=newer)

    assert found.status is TargetStatus.AHEAD
    assert found.sentence == "ahead: at 005, beyond 003, the last revision of this snapshot"


def test_a_row_of_a_diverged_snapshot_is_not_ahead() -> None:
    elsewhere = projects.read([*CHAIN[:2], Spec("fork", ("002",))])

    assert standing.standing(projects.read(CHAIN), ("fork",), other=elsewhere).status is TargetStatus.UNKNOWN_REVISION
    assert standing.standing(projects.read(CHAIN), ("gone",), other=elsewhere).status is TargetStatus.UNKNOWN_REVISION


def test_a_broken_other_snapshot_proves_nothing() -> None:
    broken = projects.read([Spec("005", ("gone",))])

    assert standing.standing(projects.read(CHAIN[:3]), ("005",), other=broken).status is TargetStatus.UNKNOWN_REVISION


@pytest.mark.parametrize("rows", [(), ("root",), ("left",)])
def test_an_unmerged_fork_asks_for_a_decision_while_something_is_pending(rows: tuple[str, ...]) -> None:
    found = of(FORK, *rows)

    assert found.status is (TargetStatus.SEVERAL_HEADS if rows else TargetStatus.NOT_INITIALISED)
    assert "right" in found.pending


def test_an_unmerged_fork_names_its_heads() -> None:
    assert of(FORK, "left").sentence == "several heads: left, right; 1 revision pending, first right"


def test_every_head_applied_is_in_sync() -> None:
    assert of(FORK, "right", "left").status is TargetStatus.IN_SYNC


def test_labelled_branches_are_on_purpose() -> None:
    assert of(BRANCHES, "left").status is TargetStatus.BEHIND
    assert of(BRANCHES, "left").pending == ("right",)


def test_what_came_by_depends_on_is_not_pending() -> None:
    specs = [Spec("a1"), Spec("c1", labels=("contract",)), Spec("b1", ("a1",), ("c1",))]

    assert of(specs, "b1").status is TargetStatus.IN_SYNC


@pytest.mark.parametrize("rows", [("002", "80105006e3d3"), ("80105006e3d3", "80105006e3d3")])
def test_rows_that_contradict_each_other_are_not_in_sync(rows: tuple[str, ...]) -> None:
    found = of(CHAIN, *rows)

    assert (found.status, found.pending) == (TargetStatus.UNKNOWN_REVISION, ())
    assert "comes below another row or stands twice" in found.sentence


def test_scripts_that_cannot_be_read_say_nothing_about_a_target() -> None:
    found = of([Spec("abc", ("gone",))], "abc")

    assert found.status is TargetStatus.UNREADABLE_SCRIPTS
    assert "comes after revision 'gone'" in found.sentence


def test_no_revisions_are_never_in_sync() -> None:
    assert of([]).status is TargetStatus.UNREADABLE_SCRIPTS
