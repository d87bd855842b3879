"""docs/architecture.md draws the table of legal moves, and no other."""

from __future__ import annotations

import re

from migrations_audit import states
from tests.project.sources import ROOT


def test_the_drawing_and_the_table_hold_the_same_moves() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawing = page.partition("stateDiagram-v2")[2].partition("```")[0]

    drawn = set(re.findall(r"^ +([a-z_]+) --> ([a-z_]+)", drawing, flags=re.MULTILINE))

    assert drawn == {(before.value, after.value) for before in states.MOVES for after in states.MOVES[before]}
