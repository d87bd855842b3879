"""Lists for people name the first ones, and say how many are not named."""

from __future__ import annotations

import pytest

from migrations_audit import listing


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a; b"),
        (["a", "b", "c"], "a; b; and 1 more"),
        ((1, 2, 3, 4), "1; 2; and 2 more"),
    ],
)
def test_at_most_so_many_are_named_on_a_line(items: list[object], said: str) -> None:
    assert listing.listed(items, 2, between="; ") == said


@pytest.mark.parametrize(
    ("items", "said"), [([], []), (["a", "b"], ["a", "b"]), (["a", "b", "c"], ["a", "b", "and 1 more"])]
)
def test_at_most_so_many_lines_are_kept(items: list[str], said: list[str]) -> None:
    assert listing.lines(items, 2) == said


def test_a_list_with_commas_needs_none_before_the_rest() -> None:
    assert listing.listed(["a", "b", "c"], 2) == "a, b and 1 more"
