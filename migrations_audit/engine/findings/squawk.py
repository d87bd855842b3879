"""squawk's rules about locks and compatibility: run as a program beside the worker, its words and severities replaced by ours."""

from __future__ import annotations

import bisect
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from migrations_audit.engine import bounded, folders
from migrations_audit.engine.findings import alembics_own, finding, places, rules, splitter
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.engine.findings.splitter import Statement
from migrations_audit.errors import PortalError
from migrations_audit.severities import Severity

LONGEST_SQL: Final = 1_000_000
LONGEST_OUTPUT: Final = 8 * 1024**2
TIMEOUT_S: Final = 30.0
MOST_PASSES: Final = 4
MOST_FINDINGS: Final = 200

EXCLUDED: Final = (
    # Matters of taste in what Alembic writes.
    *("prefer-text-field", "prefer-bigint-over-int", "prefer-identity", "prefer-timestamp-tz", "prefer-robust-stmts"),
    # The portal sets both in the session.
    *("require-lock-timeout", "require-statement-timeout", "require-timeout-settings"),
    # BEGIN and COMMIT were taken out; statements.py follows them, and looks for what destroys, with the names in it.
    *("ban-concurrent-index-creation-in-transaction", "ban-uncommitted-transaction", "transaction-nesting"),
    *("ban-drop-column", "ban-drop-table", "ban-drop-database", "ban-drop-schema", "ban-drop-constraint"),
    *("ban-drop-view", "ban-drop-function", "ban-drop-type", "ban-drop-sequence", "ban-drop-domain"),
    *("ban-drop-extension", "ban-drop-policy", "ban-truncate-cascade"),
)
CODES: Final = {
    "adding-field-with-default": "rewrites_table",
    "adding-foreign-key-constraint": "foreign_key_blocks",
    "adding-not-nullable-field": "not_null_scans",
    "adding-required-field": "required_column",
    "adding-serial-primary-key-field": "unique_blocks",
    "ban-alter-domain-with-add-constraint": "domain_constraint",
    "ban-char-field": "column_type_doubtful",
    "ban-create-domain-with-constraint": "domain_constraint",
    "ban-drop-not-null": "drops_not_null",
    "changing-column-type": "column_type_change",
    "constraint-missing-not-valid": "constraint_blocks",
    "disallowed-unique-constraint": "unique_blocks",
    "identifier-too-long": "name_too_long",
    "prefer-bigint-over-smallint": "column_type_doubtful",
    "renaming-column": "renames",
    "renaming-object": "renames",
    "renaming-table": "renames",
    "require-concurrent-index-creation": "index_blocks",
    "require-concurrent-index-deletion": "index_blocks",
    "require-concurrent-partition-detach": "partition_blocks",
    "require-concurrent-reindex": "reindex_blocks",
    "require-enum-value-ordering": "enum_value_order",
}
SYNTAX: Final = "syntax-error"
_SPECIAL: Final = ("foreign_key_blocks", "unique_blocks")
_VERSION: Final = re.compile(r"\d{1,2}(?:\.\d{1,3})?")


class _Unusable(Exception):
    """Why squawk said nothing that can be used."""


@dataclass(frozen=True)
class _Said:
    """One thing that squawk found. ``line`` counts from 1, ``column`` in bytes from 0; -1 where it did not say."""

    rule: str
    line: int
    column: int
    message: str


def of_sql(
    sql: str,
    *,
    place: places.Place,
    in_transaction: bool,
    pg_version: str = "",
    version_table: str = "alembic_version",
    program: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[Finding, ...]:
    """What squawk finds in the SQL of a plan for PostgreSQL.

    ``program`` names another one than that beside this interpreter. When it cannot be run, or not on all of the SQL, a finding
    ``lint_could_not_run`` says why: an empty answer means that it looked at everything.
    """
    if len(sql) > LONGEST_SQL:
        return (_could_not_run(f"The SQL is longer than {LONGEST_SQL:,} characters."),)
    text = alembics_own.without(sql, version_table=version_table)
    found: list[Finding] = []
    try:
        for _ in range(MOST_PASSES):
            if not text.strip():
                return tuple(found)
            said = _ask(
                text, program=program, in_transaction=in_transaction, pg_version=pg_version, timeout_s=timeout_s
            )
            # After an error of syntax squawk applies no rule at all, so what it does not understand is taken out.
            wrong = [each for each in said if each.rule == SYNTAX]
            if not wrong:
                return (*found, *_findings(said, text, place))
            left_out = _statements_of(wrong, text)
            found += _not_understood(left_out, place)
            text = splitter.blanked(text, ((each.begin, each.end) for each, _ in left_out))
    except _Unusable as error:
        return (*found, _could_not_run(str(error)))
    except PortalError as error:
        return (*found, _could_not_run(error.message))
    return (*found, _could_not_run("It did not understand the SQL, however much was left out of it."))


def _could_not_run(reason: str) -> Finding:
    return finding.of(
        "lint_could_not_run", places.WHOLE, f"squawk could not be run, so its rules were not applied. {reason}"
    )


def _program(given: str | None) -> str:
    beside = Path(sys.executable).parent / "squawk"
    found = given or (str(beside) if os.access(beside, os.X_OK) else shutil.which("squawk"))
    if found is None:
        raise _Unusable("It is not installed on this worker: install squawk-cli there.")
    return found


def _ask(
    text: str, *, program: str | None, in_transaction: bool, pg_version: str, timeout_s: float
) -> tuple[_Said, ...]:
    """One call. In an empty folder, with an empty configuration: one that lies about could switch rules off."""
    version = _VERSION.match(pg_version)
    with folders.made("lint") as folder:
        (folder / "empty.toml").touch()
        command = [_program(program), "--reporter", "json", "--config", "empty.toml", "--exclude", ",".join(EXCLUDED)]
        command += ["--assume-in-transaction"] if in_transaction else []
        command += ["--pg-version", version[0]] if version else []
        ended = bounded.run(
            command,
            environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "NO_COLOR": "1"},
            timeout_s=timeout_s,
            folder=folder,
            stdin=text.replace("\r", " ").encode("utf-8", "replace"),  # it counts lines by carriage returns too
            max_output_bytes=LONGEST_OUTPUT,
        )
    return _read(ended)


def _read(ended: bounded.Ended) -> tuple[_Said, ...]:
    if ended.code not in (0, 1):
        raise _Unusable(f"It ended with code {ended.code}: {_shortened(ended.stderr) or 'it said nothing'}.")
    try:
        answer: Any = json.loads(ended.stdout)
        said = tuple(
            _Said(str(each["rule_name"]), int(each["line"]) + 1, int(each.get("column", -1)), str(each["message"]))
            for each in answer
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _Unusable("Its answer is not the list of findings that was expected.") from error
    if bool(said) != bool(ended.code):
        raise _Unusable("Its exit code and its answer contradict each other.")
    return said


def _findings(said: Sequence[_Said], text: str, place: places.Place) -> Iterator[Finding]:
    known = _Statements(text)
    coded = [(CODES.get(each.rule, "lint_unnamed"), each, known.of(each)) for each in said]
    special = {(each.line, statement and statement.begin) for code, each, statement in coded if code in _SPECIAL}
    for code, each, statement in coded[:MOST_FINDINGS]:
        if code == "constraint_blocks" and (each.line, statement and statement.begin) in special:
            continue
        shown = f"{statement.shown()}: " if statement else ""
        words = rules.BY_CODE[code].meaning
        if code == "lint_unnamed":
            words = f"{_shortened(each.message).rstrip('.')} (squawk's rule {_shortened(each.rule)})."
        yield finding.of(code, places.at(place, statement.line if statement else each.line), shown + words)
    if len(coded) > MOST_FINDINGS:
        yield _could_not_run(f"It found {len(coded)} things; only the first {MOST_FINDINGS} are listed.")


class _Statements:
    """Finds the statement that something was said about: the one at its place, else the first that reaches its line."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._line_begins = [0, *itertools.accumulate(len(line) + 1 for line in self._lines)]
        self._all = splitter.split(text)
        self._begins = [each.begin for each in self._all]
        self._by_line: dict[int, Statement] = {}
        line, counted_to = 1, 0
        for statement in self._all:
            line += text.count("\n", counted_to, statement.end)
            counted_to = statement.end
            for each in range(statement.line, line + 1):
                self._by_line.setdefault(each, statement)

    def of(self, said: _Said) -> Statement | None:
        """The statement, or None where nothing reaches that line."""
        if 1 <= said.line <= len(self._lines) and said.column >= 0:
            before = self._lines[said.line - 1].encode("utf-8", "replace")[: said.column].decode("utf-8", "ignore")
            offset = self._line_begins[said.line - 1] + len(before)
            place = bisect.bisect_right(self._begins, offset) - 1
            if place >= 0 and offset < self._all[place].end:
                return self._all[place]
        return self._by_line.get(said.line)


def _statements_of(wrong: Sequence[_Said], text: str) -> list[tuple[Statement, str]]:
    """The statements with an error of syntax, each with the first complaint, in order."""
    known = _Statements(text)
    found: dict[int, tuple[Statement, str]] = {}
    for each in wrong:
        statement = known.of(each)
        if statement is not None:
            found.setdefault(statement.begin, (statement, each.message))
    if not found:
        raise _Unusable(f"It does not understand the SQL: {_shortened(wrong[0].message)}.")
    return [found[begin] for begin in sorted(found)]


def _not_understood(left_out: Sequence[tuple[Statement, str]], place: places.Place) -> Iterator[Finding]:
    for statement, message in left_out:
        sentence = (
            f"{statement.shown()}: squawk does not understand it ({_shortened(message)}) and applied no rule to it."
        )
        yield finding.of("lint_could_not_run", places.at(place, statement.line), sentence, severity=Severity.WARNING)


def _shortened(text: str) -> str:
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())[:200]
