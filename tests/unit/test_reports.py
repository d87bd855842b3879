"""Findings for other programs: valid structure, and nothing open that looks as if it had passed."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from migrations_audit.reports import Reported, Subject, junit, sarif

SUBJECT = Subject(7, "market/production/main", "a" * 64, frozenset({"versions/003 ä.py"}))
EVIL = 'x"<&>]]>\x00\x1b[31m\u202e\ud800'


def reported(**changes: str) -> Reported:
    values = {
        "digest": "d" * 64,
        "code": "drop_table",
        "severity": "error",
        "place": "versions/003 ä.py, SQL line 2",
        "sentence": "DROP TABLE orders: dropped.",
        "advice": "Rename it first.",
    }
    return Reported(**(values | changes))


OPEN = reported()
NOTICE = reported(code="adopts_same", severity="notice", place="")
ACCEPTED = reported(
    code="index_blocks", severity="warning", accepted="Accepted by dba until 2026-12-31 00:00 UTC: Empty."
)
UNRUN = reported(code="lint_could_not_run", severity="warning", place="SQL of the plan", sentence="squawk is absent.")


def suite(*found: Reported) -> ElementTree.Element:
    root = ElementTree.fromstring(junit(found, subject=SUBJECT))
    assert root.tag == "testsuites"
    (only,) = root
    return only


def run(*found: Reported) -> dict[str, Any]:
    log = json.loads(sarif(found, subject=SUBJECT))
    assert (log["version"], log["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    (only,) = log["runs"]
    return dict(only)


def test_junit_has_a_case_for_each_and_counts_them() -> None:
    cases = suite(OPEN, NOTICE, ACCEPTED, UNRUN)

    assert [[child.tag for child in case] for case in cases] == [["failure"], ["system-out"], ["skipped"], ["error"]]
    counted = {name: cases.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    assert cases[0].get("classname") == OPEN.place
    assert cases[0][0].get("message") == OPEN.sentence


def test_in_junit_what_was_accepted_says_by_whom_and_why() -> None:
    (case,) = suite(ACCEPTED)

    assert case[0].get("message") == ACCEPTED.accepted
    assert ACCEPTED.sentence in (case[0].text or "")


@pytest.mark.parametrize("severity", ["error", "warning", "unheard-of"])
def test_in_junit_what_is_open_and_weighs_anything_fails(severity: str) -> None:
    (case,) = suite(reported(severity=severity))

    assert case[0].tag == "failure"


def test_junit_without_findings_has_one_case_that_passes() -> None:
    (case,) = suite()

    assert (case.get("name"), list(case)) == ("no findings", [])


def test_sarif_has_the_parts_that_the_standard_requires() -> None:
    found = run(OPEN, NOTICE, ACCEPTED, reported())

    driver = found["tool"]["driver"]
    assert driver["name"] == "Opsportal"
    assert [rule["id"] for rule in driver["rules"]] == ["drop_table", "adopts_same", "index_blocks"]
    for result in found["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
    assert [result["level"] for result in found["results"]] == ["error", "note", "warning", "error"]
    assert found["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


def test_sarif_names_the_file_where_the_plan_has_it() -> None:
    first, second = run(OPEN, reported(place="elsewhere.py, line 3"))["results"]

    assert first["locations"] == [
        {
            "logicalLocations": [{"fullyQualifiedName": OPEN.place}],
            "physicalLocation": {"artifactLocation": {"uri": "versions/003%20%C3%A4.py"}},
        }
    ]
    assert "physicalLocation" not in second["locations"][0]


def test_sarif_suppresses_what_was_accepted_with_its_reason_and_nothing_else() -> None:
    accepted, still_open = run(ACCEPTED, OPEN)["results"]

    assert accepted["suppressions"] == [{"kind": "external", "status": "accepted", "justification": ACCEPTED.accepted}]
    assert "suppressions" not in still_open


def test_in_sarif_a_lint_that_could_not_run_was_not_successful() -> None:
    (invocation,) = run(UNRUN)["invocations"]

    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"] == [{"level": "error", "message": {"text": "squawk is absent."}}]


def test_hostile_text_leaves_both_readable() -> None:
    evil = reported(code=EVIL, severity=EVIL, place=EVIL, sentence=EVIL, advice=EVIL)

    (case,) = suite(evil)
    (result,) = run(evil)["results"]

    assert "\\u0000" in (case.get("name") or "")
    assert result["ruleId"] == EVIL
    junit([evil], subject=SUBJECT).encode()
    sarif([evil], subject=SUBJECT).encode()
