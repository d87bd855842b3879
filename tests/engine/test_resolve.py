"""Requests made concrete, and compared with what Alembic itself does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import util
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit.engine import graph, resolve, types
from migrations_audit.states import Operation
from tests.engine import projects
from tests.engine.projects import Spec

UPGRADE, ROLLBACK = Operation.UPGRADE, Operation.ROLLBACK


@contextmanager
def real_alembic(specs: list[Spec]) -> Iterator[projects.RealAlembic]:
    with tempfile.TemporaryDirectory() as folder:
        projects.write(Path(folder), projects.files(specs))
        real = projects.RealAlembic(Path(folder))
        try:
            yield real
        finally:
            real.close()


@st.composite
def histories(draw: st.DrawFn) -> list[Spec]:
    """Histories with branches, merges, labels and dependencies; file names do not follow the order of the revisions."""
    size = draw(st.integers(1, 8))
    names = [f"rev{number}" for number in draw(st.permutations(range(size)))]
    specs: list[Spec] = []
    for index, name in enumerate(names):
        earlier = st.sampled_from(names[:index]) if index else st.nothing()
        down = draw(st.lists(earlier, min_size=1, max_size=2, unique=True)) if index and draw(st.integers(0, 5)) else []
        depends = draw(st.lists(earlier, max_size=2, unique=True)) if index and not draw(st.integers(0, 2)) else []
        labels = (f"label{index}",) if not down and draw(st.booleans()) else ()
        specs.append(Spec(name, tuple(down), tuple(each for each in depends if each not in down), labels))
    return specs


@settings(max_examples=150, deadline=None)
@given(histories())
def test_heads_and_pending_are_alembics(specs: list[Spec]) -> None:
    ours = projects.read(specs)

    with real_alembic(specs) as real:
        scripts = real.scripts()
        assert ours.heads == tuple(sorted(scripts.get_heads(consider_depends_on=True)))
        assert set(resolve.pending(ours, ())) == {step.revision.revision for step in scripts._upgrade_revs("heads", "base")}


def requests(draw: st.DrawFn, specs: list[Spec]) -> tuple[Operation, str]:
    name = draw(st.sampled_from([spec.name for spec in specs]))
    labelled = [f"{label}@head" for spec in specs for label in spec.labels]
    upgrades = ["heads", "head", "+1", "+2", name, *labelled]
    if draw(st.integers(0, 2)):
        return UPGRADE, draw(st.sampled_from(upgrades))
    return ROLLBACK, draw(st.sampled_from(["base", "-1", "-2", name]))


def rests_on_what_came_before(ours: types.Graph, resolution: types.Resolution) -> bool:
    """Whether no step comes before one that it needs (or, on the way back, after it)."""
    labels = {label: item.revision for item in ours.revisions for label in item.branch_labels}
    steps = [step.revision for step in resolution.steps][:: 1 if resolution.operation is UPGRADE else -1]
    for index, name in enumerate(steps):
        item = ours.by_id()[name]
        needed = {labels.get(each, each) for each in item.down_revisions + item.depends_on}
        if needed & set(steps[index:]):
            return False
    return True


REAL_ALEMBIC_STOPS = (util.CommandError, AssertionError, KeyError)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_steps_and_resulting_rows_are_alembics(data: st.DataObject) -> None:
    specs = data.draw(histories())
    ours = projects.read(specs)
    order_is_fixed = all(len(spec.depends) < 2 for spec in specs)

    with real_alembic(specs) as real:
        for _ in range(data.draw(st.integers(1, 5))):
            operation, requested = requests(data.draw, specs)
            current = real.rows()
            try:
                resolution = resolve.resolve(ours, operation=operation, requested=requested, current=current)
            except resolve.RevisionRefused as refusal:
                check_refusal(refusal, real, operation, requested)
                continue
            passed = real.run(operation, resolve.argument(resolution))

            assert real.rows() == resolution.result
            assert sorted(passed) == sorted(step.revision for step in resolution.steps)
            assert rests_on_what_came_before(ours, resolution)
            if order_is_fixed:
                assert passed == [step.revision for step in resolution.steps]


def check_refusal(
    refusal: resolve.RevisionRefused, real: projects.RealAlembic, operation: Operation, requested: str
) -> None:
    if refusal.code in ("ambiguous_walk", "several_heads"):
        return  # We are stricter than Alembic there.
    before = real.rows()
    if refusal.code in ("already_applied", "nothing_to_do", "not_applied"):
        try:
            assert real.run(operation, requested) == []
        except util.CommandError:
            pass
    else:
        assert refusal.code in ("too_far", "not_plannable"), refusal.code
        with pytest.raises(REAL_ALEMBIC_STOPS):
            real.run(operation, requested)
    assert real.rows() == before
