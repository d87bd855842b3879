"""Cells that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io

import pytest

from migrations_audit import sheets


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "＋1",
        "－1",
        "＠x",
        "  =1",
        "\u200b=1",
        "\ufeff=1",
        "\u00a0=1",
        "﹦1",
    ],
)
def test_a_cell_that_could_begin_a_formula_is_put_behind_an_apostrophe(cell: str) -> None:
    assert sheets.safe(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "1", "plain", "a=b", "'quoted", "größer 🦆", '{"a":"=1"}', " ", "\u200b"])
def test_any_other_cell_stays_as_it_is(cell: str) -> None:
    assert sheets.safe(cell) == cell


def test_a_row_is_read_back_as_it_was_written() -> None:
    cells = ['say "no"', "a,b", "two\r\nlines", "größer 🦆"]

    read = next(csv.reader(io.StringIO(sheets.row(cells).decode(), newline="")))

    assert read == cells


def test_what_turns_the_direction_of_a_line_is_written_out() -> None:
    assert sheets.safe("table \u202egnp\u202c \u2066x") == "table \\u202egnp\\u202c \\u2066x"
