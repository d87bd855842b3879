"""Findings as other programs read them: SARIF for code scanning, JUnit for pipelines. Pure.

Nothing that is open, or that could not be looked at, comes out as passed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

from migrations_audit import severities
from migrations_audit.severities import Severity

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
COULD_NOT_RUN: Final = "lint_could_not_run"
_LEVELS: Final = {"error": "error", "warning": "warning", "notice": "note"}
_LINE: Final = re.compile(r", (?:SQL )?line \d+$")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Reported:
    """One finding. ``accepted`` says by whom, why and until when, or is empty; ``digest`` names it."""

    digest: str
    code: str
    severity: str
    place: str
    sentence: str
    advice: str
    accepted: str = ""


@dataclass(frozen=True)
class Subject:
    """What the findings are of. ``paths`` are the script files of the plan."""

    run: int
    target: str
    plan_digest: str
    paths: Collection[str] = ()


def sarif(found: Sequence[Reported], *, subject: Subject) -> str:
    """The findings as SARIF 2.1.0. An accepted one is suppressed with its reason."""
    codes = list(dict.fromkeys(each.code for each in found))
    advice = {each.code: each.advice for each in reversed(found)}
    failed = [each for each in found if each.code == COULD_NOT_RUN]
    run = {
        "tool": {
            "driver": {
                "name": "Opsportal",
                "rules": [
                    {"id": code, "name": code, **({"help": {"text": advice[code]}} if advice[code] else {})}
                    for code in codes
                ],
            }
        },
        "automationDetails": {
            "id": f"{subject.target}/run-{subject.run}",
            "description": {"text": subject.plan_digest},
        },
        "invocations": [
            {
                "executionSuccessful": not failed,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": each.sentence}} for each in failed
                ],
            }
        ],
        "results": [_result(each, codes=codes, paths=subject.paths) for each in found],
    }
    written = json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2)
    return written.encode("utf-8", "backslashreplace").decode()  # half a character becomes an escape of JSON's


def _result(each: Reported, *, codes: list[str], paths: Collection[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": each.code,
        "ruleIndex": codes.index(each.code),
        "level": _LEVELS.get(each.severity, "warning"),
        "message": {"text": each.sentence},
        "partialFingerprints": {"opsportal/v1": each.digest},
    }
    if each.place:
        location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": each.place}]}
        path = _LINE.sub("", each.place)
        if path in paths:
            location["physicalLocation"] = {"artifactLocation": {"uri": quote(path)}}
        result["locations"] = [location]
    if each.accepted:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": each.accepted}]
    return result


def junit(found: Sequence[Reported], *, subject: Subject) -> str:
    """The findings as one test case each.

    An open one of warning or worse is a failure, an accepted one is left out with its reason, and a lint that could not run is an
    error. Without any finding there is one case, which passes.
    """
    name = f"findings of run {subject.run} on {subject.target}"
    suite = ElementTree.Element("testsuite", name=_xml(name))
    for each in found:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(each.place or subject.target), name=_xml(each.code)
        )
        kind = _kind(each)
        words = each.accepted if kind == "skipped" else each.sentence
        if kind == "system-out":
            ElementTree.SubElement(case, kind).text = _xml(words)
            continue
        element = ElementTree.SubElement(case, kind, message=_xml(words))
        if kind != "skipped":
            element.set("type", _xml(each.severity))
        element.text = _xml("\n".join(filter(None, (each.sentence, each.accepted, each.advice))))
    if not found:
        ElementTree.SubElement(suite, "testcase", classname=_xml(subject.target), name="no findings")
    kinds = [_kind(each) for each in found]
    for counted, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(counted, str(kinds.count(kind)))
    suite.set("tests", str(max(len(found), 1)))
    root = ElementTree.Element(
        "testsuites", {counted: suite.get(counted, "0") for counted in ("tests", "failures", "errors")}
    )
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _kind(each: Reported) -> str:
    if each.accepted:
        return "skipped"
    if each.code == COULD_NOT_RUN:
        return "error"
    return "failure" if severities.is_at_least(each.severity, Severity.WARNING) else "system-out"


def _xml(text: str) -> str:
    """The text with what XML cannot hold written out."""
    return _NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
