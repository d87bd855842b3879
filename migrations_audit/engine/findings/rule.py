"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass

from migrations_audit.severities import Severity


@dataclass(frozen=True)
class Rule:
    """``meaning`` says what was found where a finding has no words of its own; ``advice`` is the safer way."""

    code: str
    severity: Severity
    meaning: str
    advice: str
