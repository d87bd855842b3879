"""docs/security.md has a row for each of the 80 attacks, and each row a test that exists or the reason why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.project.sources import ROOT

COUNT = 84
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
REASON = re.compile(r"(?:No test|Open): .{20,}")


def rows() -> dict[int, list[str]]:
    """The cells of each row by its number."""
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    found = [line.strip("| ").split(" | ") for line in lines if re.match(r"\| S\d+ \|", line)]
    assert len(found) == len({cells[0] for cells in found}), "A number has two rows."
    return {int(cells[0][1:]): cells for cells in found}


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the tests in a file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))


def problems(cells: list[str]) -> list[str]:
    """What is wrong with one row."""
    if len(cells) != 4 or not all(cell.strip() for cell in cells):
        return [f"{cells[0]} has not four filled cells"]
    named = NAMED.findall(cells[3])
    if not named and not REASON.match(cells[3]):
        return [f"{cells[0]} names neither a test nor a reason"]
    return [
        f"{cells[0]}: there is no {file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or name not in names_in(ROOT / file) or not name.startswith("test_")
    ]


def test_every_attack_has_a_row() -> None:
    assert sorted(rows()) == list(range(1, COUNT + 1))


@pytest.mark.parametrize("number", sorted(rows()))
def test_a_row_names_tests_that_exist_or_says_why_there_is_none(number: int) -> None:
    assert problems(rows()[number]) == []


@pytest.mark.parametrize(
    "last",
    [
        "",
        "later",
        "No test: short",
        "`tests/security/test_canary.py::test_that_nobody_wrote`",
        "`tests/security/test_nowhere.py::test_x`",
        "`tests/project/test_security_documented.py::rows`",
    ],
)
def test_a_row_without_either_is_noticed(last: str) -> None:
    assert problems(["S1", "attack", "answer", last])
