"""Rows for spreadsheets: RFC 4180 in UTF-8, with no cell that a spreadsheet could take for a formula. Pure."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable

_FORMULA_STARTS = frozenset("=+-@")
_BLANKS = frozenset("\t\r\n\x0b\x0c")


_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What turns the direction of a line, so that a cell reads as something else."""


def row(cells: Iterable[str]) -> bytes:
    """One row, its cells made safe."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([safe(cell) for cell in cells])
    return text.getvalue().encode()


def safe(cell: str) -> str:
    """The cell, behind an apostrophe if it could begin a formula: after blanks, invisible or full-width signs too.

    Signs that turn the direction of a line are written as escapes.
    """
    cell = _TURNS.sub(lambda found: f"\\u{ord(found[0]):04x}", cell)
    if cell[:1] in _BLANKS:
        return f"'{cell}"
    visible = next((sign for sign in cell if not sign.isspace() and unicodedata.category(sign) != "Cf"), "")
    return f"'{cell}" if unicodedata.normalize("NFKC", visible)[:1] in _FORMULA_STARTS else cell
