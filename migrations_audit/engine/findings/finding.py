"""One finding: what was found, where, how much it weighs, and the safer way."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from migrations_audit.engine.findings import rules
from migrations_audit.severities import Severity


@dataclass(frozen=True)
class Finding:
    """``code`` is a rule's; ``place`` names a file, a line of a revision's SQL, or a target; ``advice`` is the safer way."""

    code: str
    severity: Severity
    place: str
    sentence: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self) | {"severity": self.severity.value}


def of(code: str, place: str, sentence: str, *, severity: Severity | None = None) -> Finding:
    """A finding with the severity and the advice of its rule. A code without one is a warning without advice."""
    rule = rules.BY_CODE.get(code)
    known = rule.severity if rule else Severity.WARNING
    return Finding(code, severity or known, place, sentence, rule.advice if rule else "")
