"""How findings are weighed and put in order."""

from __future__ import annotations

import pytest

from migrations_audit import severities


def finding(code: str, severity: str, place: str = "") -> dict[str, str]:
    return {"code": code, "severity": severity, "place": place, "sentence": f"{code}."}


def test_the_worst_comes_first_and_equals_stay_as_they_came() -> None:
    given = [finding("a", "notice"), finding("b", "warning"), finding("c", "error"), finding("d", "warning")]

    assert [each["code"] for each in severities.worst_first(given)] == ["c", "b", "d", "a"]


def test_the_same_code_place_and_sentence_stay_once_as_their_worst() -> None:
    given = [finding("a", "warning", "x"), finding("a", "error", "x"), finding("a", "error", "y")]

    assert severities.worst_first(given) == given[1:]


@pytest.mark.parametrize(
    ("severity", "threshold", "answer"),
    [
        ("error", "warning", True),
        ("warning", "warning", True),
        ("notice", "warning", False),
        ("warning", "error", False),
        ("unheard-of", "warning", True),
        ("unheard-of", "error", False),
    ],
)
def test_a_severity_is_compared_with_a_threshold(severity: str, threshold: str, answer: bool) -> None:
    assert severities.is_at_least(severity, threshold) is answer
