"""Each rule finds what breaks it, and leaves alone what only resembles that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.findings.cases import Part
from tests.findings.registry import PARTS


def cases(kind: str) -> Iterator[Any]:
    for part in PARTS:
        marks = [pytest.mark.django_db] if part.needs_database else []
        for number, (code, given) in enumerate(getattr(part, kind)):
            yield pytest.param(part, code, given, id=f"{part.name}-{number}-{code}", marks=marks)


@pytest.mark.parametrize(("part", "code", "given"), list(cases("triggers")))
def test_a_rule_finds(part: Part[Any], code: str, given: Any, tmp_path: Path) -> None:
    assert code in part.found(given, tmp_path)


@pytest.mark.parametrize(("part", "code", "given"), list(cases("quiet")))
def test_a_rule_leaves_alone(part: Part[Any], code: str, given: Any, tmp_path: Path) -> None:
    assert code not in part.found(given, tmp_path)
