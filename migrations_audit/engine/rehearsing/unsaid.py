"""What was done on a copy and stands in no SQL of the plan: a script may do something else where it only writes its SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from migrations_audit.engine import catalog
from migrations_audit.engine.findings import finding, places, splitter
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.engine.findings.splitter import LITERAL, Token
from migrations_audit.engine.rehearsing import grading
from migrations_audit.engine.rehearsing.types import Pass, Statement, Step
from migrations_audit.engine.types import Change

_VALUE: Final = re.compile(rf"% \( \w+ \) S\b|% S\b|\$ {LITERAL}|\$ \d+")
"""Where a driver puts a value, with blanks between the words. Offline mode writes the value itself there."""
_CAST: Final = re.compile(rf"{LITERAL} :: \w+")
_CODES: Final = {"table": "drop_table", "foreign table": "drop_table", "column": "drop_column"}


def besides(there: Pass, sql: str) -> Pass:
    """The same pass with only those of its statements that are not in ``sql``."""
    planned = _Planned(sql)
    steps = (
        replace(step, statements=[each for each in step.statements if not planned.holds(each)]) for step in there.steps
    )
    return replace(there, steps=tuple(steps)) if sql else there


class _Planned:
    """The statements of a plan's SQL, to be found again as a driver was given them."""

    def __init__(self, sql: str) -> None:
        statements = splitter.split(sql)
        self._exact = {_shape(each.tokens) for each in statements}
        self._without_values = {_without_values(each.tokens) for each in statements}

    def holds(self, executed: Statement) -> bool:
        """Whether all of an executed text was planned. Of one that was cut off the last statement needs only to begin alike."""
        found = [each.tokens for each in splitter.split(executed.text.replace("%%", "%"))]
        cut = [found.pop()[:-1]] if executed.cut and found else []
        return all(shape in known for shape, known in map(self._shape_and_known, found)) and all(
            any(each.startswith(shape) for each in known) for shape, known in map(self._shape_and_known, cut)
        )

    def _shape_and_known(self, tokens: Sequence[Token]) -> tuple[str, set[str]]:
        exact = _shape(tokens)
        return (_without_values(tokens), self._without_values) if _VALUE.search(exact) else (exact, self._exact)


def _shape(tokens: Sequence[Token]) -> str:
    """A statement without blanks, comments and what stands in plain literals."""
    return " ".join(_text(token) for token in tokens)


def _without_values(tokens: Sequence[Token]) -> str:
    """The same without numbers, the marks of a driver for values, and its casts."""
    words = (
        LITERAL if token.word[:1].isdigit() or token.word in ("TRUE", "FALSE", "NULL") else _text(token)
        for token in tokens
    )
    return _CAST.sub(LITERAL, _VALUE.sub(LITERAL, " ".join(words)))


def _text(token: Token) -> str:
    return token.text if token.word == LITERAL else token.word


def drops(step: Step, place: str, findings: Iterable[tuple[str, str, str]], *, version_table: str) -> Iterator[Finding]:
    """The tables and columns that were gone after a step, where no finding names them: code, place and sentence of each."""
    here = [(code, sentence) for code, where, sentence in findings if where.startswith((place, places.WHOLE))]
    said = {code: _words(sentence for each, sentence in here if each == code) for code, _ in here}
    gone = [each for each in grading.removed(step) if not grading.is_of_table(each.key, version_table)]
    tables = {_name(each) for each in gone}
    for change in gone:
        code = _CODES.get(change.key.partition(f" {_name(change)}")[0])
        schema, *_, own = (each.casefold() for each in catalog.names(_name(change)))
        with_another = change.before.partition("child of ")[2].partition(", ")[0] in tables
        is_said = own in said.get(code or "", ()) or (code == "drop_table" and schema in said.get("drop_schema", ()))
        if code and not (with_another or is_said):
            sentence = (
                f"{step.revision} left no {change.key} on the copy, and no SQL that was read says that it is dropped."
            )
            yield finding.of(code, f"{place}, as executed on a copy", sentence)


def _name(change: Change) -> str:
    return change.key.removeprefix("foreign ").removeprefix("materialized ").partition(" ")[2]


def _words(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(word for text in texts for word in re.findall(r"[\w$]+", text.casefold()))
