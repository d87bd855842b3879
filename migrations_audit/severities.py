"""How much a finding weighs: error, warning, notice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final


class Severity(StrEnum):
    """Worst first. An error breaks a run or destroys data, a warning can stop others or surprise, a notice is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


_ORDER: Final = {severity.value: place for place, severity in enumerate(Severity)}
_UNKNOWN: Final = _ORDER[Severity.WARNING]
"""A word that this version does not know, in a plan of another, must not weigh less than it was meant to."""


def rank(severity: str) -> int:
    """0 for the worst. For sorting."""
    return _ORDER.get(severity, _UNKNOWN)


def is_at_least(severity: str, threshold: str) -> bool:
    """Whether ``severity`` is ``threshold`` or worse."""
    return rank(severity) <= rank(threshold)


def worst_first(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Findings sorted by severity, those of one severity as they came, each code, place and sentence once: its worst."""
    kept: dict[tuple[str, str, str], dict[str, Any]] = {}
    for finding in sorted(findings, key=lambda each: rank(each["severity"])):
        kept.setdefault((finding["code"], finding.get("place", ""), finding["sentence"]), dict(finding))
    return list(kept.values())
