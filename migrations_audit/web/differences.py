"""The detail of a check as people read it: in parts with a title, each line with its sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from migrations_audit.models.evidence import TITLE

_KINDS = {"+": ("added", "+"), "-": ("removed", "−"), "~": ("changed", "~"), "@": ("place", "")}
"""By a line's first character: its kind, and the sign that is shown."""


@dataclass(frozen=True)
class Line:
    """One line; ``kind`` is added, removed, changed, place or same."""

    kind: str
    sign: str
    text: str


@dataclass(frozen=True)
class Part:
    """What belongs to one title, which may be empty."""

    title: str
    lines: list[Line] = field(default_factory=list)

    @property
    def counts(self) -> str:
        """How many lines were added and removed, in words; empty when none were."""
        numbers = {kind: sum(line.kind == kind for line in self.lines) for kind in ("added", "removed", "changed")}
        return ", ".join(f"{number} {kind}" for kind, number in numbers.items() if number)


def parts(detail: Iterable[str]) -> list[Part]:
    """The lines of a check's detail under their titles."""
    found: list[Part] = []
    for text in detail:
        if text.startswith(TITLE):
            found.append(Part(text.removeprefix(TITLE)))
            continue
        if not found:
            found.append(Part(""))
        found[-1].lines.append(_line(text))
    return found


def _line(text: str) -> Line:
    kind, sign = _KINDS.get(text[:1], ("same", ""))
    return Line(kind, sign, text if kind == "place" else text[1:])
