"""docs/reliability.md has a row for each of the 67 faults, and each names a test that exists, or says why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache

from tests.project.sources import ROOT, tree

ROW = re.compile(r"^\| F(\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
NO_TEST = "No test: "
LEAST_REASON = 20


def rows() -> dict[int, str]:
    """The last cell of each row, by the fault's number."""
    found = ROW.findall((ROOT / "docs" / "reliability.md").read_text())
    numbers = [int(number) for number, *_ in found]
    assert len(set(numbers)) == len(numbers), "A fault has two rows."
    return {int(number): proof for number, _, _, proof in found}


@cache
def functions_of(file: str) -> frozenset[str]:
    path = ROOT / file
    return (
        frozenset(node.name for node in tree(path).body if isinstance(node, ast.FunctionDef))
        if path.exists()
        else frozenset()
    )


def named(proof: str) -> list[tuple[str, str]]:
    return [(file, name) for file, _, name in (item.partition("::") for item in re.findall(r"`(tests/[^`]+)`", proof))]


def test_every_fault_has_its_row() -> None:
    assert sorted(rows()) == list(range(1, 68))


def test_every_row_names_a_test_or_a_reason() -> None:
    without = [
        number
        for number, proof in rows().items()
        if not named(proof) and len(proof.partition(NO_TEST)[2].strip()) < LEAST_REASON
    ]

    assert without == []


def test_every_named_test_exists() -> None:
    absent = [
        f"F{number}: {file}::{name}"
        for number, proof in rows().items()
        for file, name in named(proof)
        if name not in functions_of(file)
    ]

    assert absent == []


def test_every_test_of_the_faults_stands_in_the_table() -> None:
    listed = {(file, name) for proof in rows().values() for file, name in named(proof)}
    written = {
        (f"tests/reliability/{path.name}", name)
        for path in (ROOT / "tests" / "reliability").glob("test_*.py")
        for name in functions_of(f"tests/reliability/{path.name}")
        if name.startswith("test_")
    }

    assert written <= listed
