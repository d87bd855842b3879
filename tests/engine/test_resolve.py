"""Requests made concrete, and compared with what Alembic itself does."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from alembic import util
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit.engine import resolve, types
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


@settings(max_examples=100, deadline=None)
@given(histories())
def test_heads_and_pending_are_alembics(specs: list[Spec]) -> None:
    ours = projects.read(specs)

    with real_alembic(specs) as real:
        scripts = real.scripts()
        assert ours.heads == tuple(sorted(scripts.get_heads(consider_depends_on=True)))
        assert set(resolve.pending(ours, ())) == {
            step.revision.revision for step in scripts._upgrade_revs("heads", "base")
        }


@st.composite
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


def ancestors(ours: types.Graph, names: Iterable[str]) -> set[str]:
    labels = {label: item.revision for item in ours.revisions for label in item.branch_labels}
    known, found, todo = ours.by_id(), set[str](), list(names)
    while todo:
        item = known[labels.get(todo[-1], todo.pop())]
        found.add(item.revision)
        todo += [each for each in item.down_revisions + item.depends_on if each not in found]
    return found


REAL_ALEMBIC_STOPS = (util.CommandError, AssertionError, KeyError)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_steps_and_resulting_rows_are_alembics(data: st.DataObject) -> None:
    specs = data.draw(histories())
    ours = projects.read(specs)
    order_is_fixed = all(len(spec.depends) < 2 for spec in specs)

    with real_alembic(specs) as real:
        for _ in range(data.draw(st.integers(1, 5))):
            operation, requested = data.draw(requests(specs))
            current = real.rows()
            if any(each in ancestors(ours, {*current} - {each}) for each in current):
                # Alembic takes back a merge of a revision with its own ancestor and leaves both in the table.
                with pytest.raises(resolve.RevisionRefused, match="comes below another row"):
                    resolve.pending(ours, current)
                return
            assert set(resolve.pending(ours, current)) == set(ours.by_id()) - ancestors(ours, current)
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
        with suppress(util.CommandError):
            assert real.run(operation, requested) == []
    else:
        assert refusal.code in ("too_far", "not_plannable"), refusal.code
        with pytest.raises(REAL_ALEMBIC_STOPS):
            real.run(operation, requested)
    assert real.rows() == before


CHAIN = projects.chain("001", "002", "003", "004", "005", "80105006e3d3")
BRANCHES = [
    Spec("root01"),
    Spec("expand1", ("root01",), labels=("expand",)),
    Spec("contract1", ("root01",), labels=("contract",)),
    Spec("expand2", ("expand1",)),
    Spec("contract2", ("contract1",), depends=("expand1",)),
]


def ids(specs: list[Spec], operation: Operation, requested: str, *current: str) -> list[str]:
    found = resolve.resolve(projects.read(specs), operation=operation, requested=requested, current=current)
    return [step.revision for step in found.steps]


def refusal(specs: list[Spec], operation: Operation, requested: str, *current: str) -> resolve.RevisionRefused:
    with pytest.raises(resolve.RevisionRefused) as caught:
        resolve.resolve(projects.read(specs), operation=operation, requested=requested, current=current)
    return caught.value


@pytest.mark.parametrize("requested", ["head", "heads", "80105006e3d3", "8010", "+4", "80105006"])
def test_every_upgrade_form_becomes_the_full_id(requested: str) -> None:
    found = resolve.resolve(projects.read(CHAIN), operation=UPGRADE, requested=requested, current=("002",))

    assert [step.revision for step in found.steps] == ["003", "004", "005", "80105006e3d3"]
    assert (found.start, found.destination, found.result) == (("002",), ("80105006e3d3",), ("80105006e3d3",))
    assert resolve.argument(found) == "80105006e3d3"


@pytest.mark.parametrize(("requested", "result"), [("base", ()), ("-4", ("002",)), ("002", ("002",))])
def test_every_rollback_form_becomes_the_full_id(requested: str, result: tuple[str, ...]) -> None:
    found = resolve.resolve(projects.read(CHAIN), operation=ROLLBACK, requested=requested, current=("80105006e3d3",))

    assert found.result == result
    assert found.steps[0].revision == "80105006e3d3"
    assert found.steps[0].direction == "downgrade"


def test_a_step_carries_what_an_approver_needs() -> None:
    found = resolve.resolve(projects.read(CHAIN), operation=UPGRADE, requested="003", current=("002",))

    (step,) = found.steps
    assert (step.position, step.revision, step.down_revisions, step.direction) == (1, "003", ("002",), "upgrade")
    assert step.path == "migrations/versions/003.py"
    assert step.sha256 == hashlib.sha256(CHAIN[2].content()).hexdigest()
    assert step.message == "Revision 003"


EVERYWHERE_BAD = [
    "--sql", "--sq", "--tag=x", "-x foo", "-xfoo", "--help", "--raiseerr", "head --sql", "001:003", "current", "x@y@z",
    "head ", " head", "head\n", "001\n", "00\x001", "001\x00", "001;drop", "'", '"', "001'", "../001", "0\u043e1", "\u202e100",
    "\U0001f680",
    "@", "@head", "expand@", "expand@+1", "expand@-1", "expand@heads", "001-1", "001+1", "+", "-", "+0", "-0", "+-1",
    "$(id)", "`id`", "%(here)s", "{0}", "a" * 33 + "\r", "base@001", "001,002", "0 1",
]  # fmt: skip


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("requested", EVERYWHERE_BAD)
def test_what_is_no_revision_is_refused_by_its_form(operation: Operation, requested: str) -> None:
    found = refusal(CHAIN, operation, requested, "002")

    assert found.code in ("bad_request", "wrong_direction")
    assert "Accepted" in found.message
    assert found.message.isascii()


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("requested", "code"),
    [("", "empty_request"), ("  ", "empty_request"), ("\n", "empty_request"),
     ("0" * 101, "request_too_long"), ("0" * 4096, "request_too_long")],
)  # fmt: skip
def test_an_empty_or_endless_request_is_refused(operation: Operation, requested: str, code: str) -> None:
    assert refusal(CHAIN, operation, requested).code == code


@pytest.mark.parametrize("requested", ["-1", "-12", "base"])
def test_a_rollback_is_not_smuggled_in_as_an_upgrade(requested: str) -> None:
    found = refusal(CHAIN, UPGRADE, requested, "003")

    assert found.code == "wrong_direction"
    assert "use Plan rollback" in found.message


@pytest.mark.parametrize("requested", ["+1", "head", "heads", "expand@head"])
def test_an_upgrade_is_not_smuggled_in_as_a_rollback(requested: str) -> None:
    found = refusal(BRANCHES, ROLLBACK, requested, "root01")

    assert found.code == "wrong_direction"
    assert "use Plan upgrade" in found.message


@pytest.mark.parametrize("requested", ["006", "8", "801", "9999", "expand@head", "expand@001"])
def test_an_unknown_revision_or_label_is_refused(requested: str) -> None:
    assert refusal(CHAIN, UPGRADE, requested).code in ("no_such_revision", "no_such_label")


def test_a_prefix_of_several_revisions_is_refused_with_their_names() -> None:
    specs = projects.chain("abcd01", "abcd02", "abcd")

    assert refusal(projects.chain("abcd01", "abcd02"), UPGRADE, "abcd").message.startswith(
        "Several revisions begin with abcd: abcd01, abcd02."
    )
    assert ids(specs, UPGRADE, "abcd") == ["abcd01", "abcd02", "abcd"]


def test_a_bare_label_is_refused_with_the_right_form() -> None:
    found = refusal(BRANCHES, UPGRADE, "expand")

    assert found.code == "no_such_revision"
    assert "expand@head" in found.message


def test_upgrading_to_a_past_revision_says_where_the_target_is() -> None:
    found = refusal(CHAIN, UPGRADE, "002", "005")

    assert found.code == "already_applied"
    assert found.message == "Nothing to apply: the target is at 005, which includes 002."


@pytest.mark.parametrize(
    ("operation", "requested", "current"),
    [(UPGRADE, "head", "80105006e3d3"), (UPGRADE, "003", "003"), (ROLLBACK, "003", "003")],
)
def test_nothing_to_do_is_its_own_answer(operation: Operation, requested: str, current: str) -> None:
    assert refusal(CHAIN, operation, requested, current).code == "nothing_to_do"


def test_rolling_back_an_empty_database_is_nothing_to_do() -> None:
    assert refusal(CHAIN, ROLLBACK, "base").code == "nothing_to_do"


def test_rolling_back_to_a_revision_above_is_refused() -> None:
    assert refusal(CHAIN, ROLLBACK, "005", "003").code == "not_applied"


@pytest.mark.parametrize(("operation", "requested"), [(UPGRADE, "+5"), (ROLLBACK, "-3")])
def test_walking_past_the_end_is_refused(operation: Operation, requested: str) -> None:
    assert refusal(CHAIN, operation, requested, "002").code == "too_far"


def test_a_row_that_no_file_has_is_named() -> None:
    with pytest.raises(resolve.UnknownRevision) as caught:
        resolve.resolve(projects.read(CHAIN), operation=UPGRADE, requested="head", current=("deadbeef",))

    assert caught.value.revisions == ("deadbeef",)
    assert "deadbeef" in caught.value.message


def test_a_row_is_never_taken_for_the_beginning_of_a_revision() -> None:
    assert refusal(CHAIN, UPGRADE, "head", "80105006").code == "unknown_revision"


@pytest.mark.parametrize("rows", [("002", "005"), ("003", "003")])
def test_rows_that_overlap_are_refused(rows: tuple[str, ...]) -> None:
    assert refusal(CHAIN, UPGRADE, "head", *rows).code == "overlapping_rows"


def test_bare_head_with_several_heads_lists_them() -> None:
    found = refusal(BRANCHES, UPGRADE, "head")

    assert found.code == "several_heads"
    assert "contract2, expand2" in found.message
    assert "label@head" in found.message


def test_heads_takes_every_branch_in_one_call() -> None:
    found = resolve.resolve(projects.read(BRANCHES), operation=UPGRADE, requested="heads", current=())

    assert found.destination == ("contract2", "expand2")
    assert found.result == ("contract2", "expand2")
    assert resolve.argument(found) == "heads"


def test_one_branch_brings_what_it_depends_on() -> None:
    assert set(ids(BRANCHES, UPGRADE, "contract@head")) == {"root01", "expand1", "contract1", "contract2"}
    assert ids(BRANCHES, UPGRADE, "expand@expand1") == ["root01", "expand1"]
    assert refusal(BRANCHES, UPGRADE, "expand@contract2").code == "not_on_branch"


def test_rows_are_not_the_applied_set() -> None:
    ours = projects.read(BRANCHES)

    assert resolve.pending(ours, ("contract2",)) == ("expand2",)


@pytest.mark.parametrize(("operation", "requested"), [(UPGRADE, "+1"), (ROLLBACK, "-1")])
def test_counting_from_several_rows_is_refused(operation: Operation, requested: str) -> None:
    assert refusal(BRANCHES, operation, requested, "expand1", "contract1").code == "ambiguous_walk"


def test_counting_through_a_fork_or_a_merge_is_refused() -> None:
    merged = [*BRANCHES, Spec("merge1", ("expand2", "contract2"))]

    assert refusal(merged, UPGRADE, "+2").code == "ambiguous_walk"
    assert refusal(merged, ROLLBACK, "-1", "merge1").code == "ambiguous_walk"


def test_minus_one_that_would_take_back_more_than_one_is_refused() -> None:
    specs = [Spec("base01"), Spec("side01", ("base01",)), Spec("main01", ("base01",), depends=("side01",))]

    found = refusal(specs, ROLLBACK, "-1", "main01")

    assert found.code == "ambiguous_walk"
    assert "side01" in found.message


def test_scripts_with_a_fatal_problem_are_not_planned() -> None:
    specs = [Spec("child1", ("gone01",))]

    assert refusal(specs, UPGRADE, "head").code == "unreadable_scripts"


def test_the_same_request_resolves_alike_in_every_process() -> None:
    specs = [Spec(f"base{index}") for index in range(6)]
    specs.append(Spec("zlast", (), depends=tuple(spec.name for spec in specs)))
    program = (
        "from tests.engine import projects; from migrations_audit.engine import resolve; import sys;"
        f"specs=[projects.Spec(*each) for each in {[(spec.name, spec.down, spec.depends) for spec in specs]!r}];"
        "print(resolve.pending(projects.read(specs), ()))"
    )

    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3", "4")
    }

    assert len(printed) == 1
