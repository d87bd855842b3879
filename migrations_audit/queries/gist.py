"""What a decision rests on, in one line. Pure: each part names the section of the run page that tells the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import filesizeformat

from migrations_audit.queries.findings import Standing
from migrations_audit.queries.rehearsals import Rehearsed
from migrations_audit.states import Blocks, Grade, Outcome

GRADES = {
    Grade.EXACT: "can be taken back exactly",
    Grade.LOSSY: "cannot be taken back exactly",
    Grade.IMPOSSIBLE: "cannot be taken back",
}
OUTCOMES = {Outcome.PASSED: "rehearsal passed", Outcome.FAILED: "rehearsal failed"}
BLOCKS: Mapping[int, str] = {Blocks.ALL: "blocks reads and writes of", Blocks.WRITES: "blocks writes of"}
"""By the first number of a forecast's weight."""
SEVERITIES = ("error", "warning")


@dataclass(frozen=True)
class Point:
    """A few words, and the id of the section that says more."""

    words: str
    section: str


def of(found: Sequence[Standing], rehearsed: Rehearsed) -> list[Point]:
    """What was found, whether it can be taken back, whom it holds up, and what a rehearsal said."""
    points = [Point(words, "findings") for words in _counted(found)]
    shown = rehearsed.shown
    if shown is not None:
        grade = GRADES.get(Grade(shown.grade)) if shown.grade else None
        points.append(Point(grade or "not tested whether it can be taken back", "rehearsal"))
    if rehearsed.forecast and (worst := _worst(rehearsed.forecast[0])):
        points.append(Point(worst, "rehearsal"))
    if shown is not None:
        points.append(Point(OUTCOMES.get(Outcome(shown.outcome), "rehearsal could not run"), "rehearsal"))
    elif rehearsed.exists or rehearsed.may_ask or rehearsed.missing:
        points.append(Point("rehearsal under way" if rehearsed.is_open else "not rehearsed", "rehearsal"))
    return points


def _counted(found: Sequence[Standing]) -> list[str]:
    said = []
    for severity in SEVERITIES:
        if of_it := [each for each in found if each.severity == severity]:
            accepted = sum(not each.is_open for each in of_it)
            said.append(f"{len(of_it)} {severity}{'s' if len(of_it) > 1 else ''} ({accepted} accepted)")
    return said or ["no error or warning found"]


def _worst(entry: Mapping[str, Any]) -> str:
    verb = BLOCKS.get(entry["weight"][0])
    size = f" ({filesizeformat(entry['bytes'])})" if entry.get("bytes") else ""
    return f"{verb} {entry['relation'].removeprefix('public.')}{size}" if verb else ""
