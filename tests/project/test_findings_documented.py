"""docs/findings.md shows the table of rules as the code has it, and every code that is given has a rule."""

from __future__ import annotations

import re

from migrations_audit.engine.findings import rules
from migrations_audit.states import TargetStatus
from tests.findings.registry import PARTS
from tests.project.sources import ROOT, calls, constant, first_cells, python_files


def rows() -> list[tuple[str, ...]]:
    text = (ROOT / "docs" / "findings.md").read_text()
    return re.findall(r"^\| `([a-z_]+)` \| (.+?) \| (.+?) \| (.+?) \|$", text, flags=re.MULTILINE)


def test_the_page_has_a_row_for_every_rule_with_the_words_of_the_code() -> None:
    assert rows() == [(rule.code, rule.severity.value, rule.meaning, rule.advice) for rule in rules.ALL]
    assert len(first_cells("findings.md")) == len(rules.ALL) == len(rules.BY_CODE)


def test_every_rule_says_what_it_means_and_the_safer_way_in_sentences() -> None:
    assert [rule.code for rule in rules.ALL if not (rule.meaning.endswith(".") and rule.advice.endswith("."))] == []


def test_every_code_that_is_given_has_a_rule() -> None:
    given = {
        constant(call.args[0])
        for path in python_files("migrations_audit/execution", "migrations_audit/engine/findings")
        for name, call in calls(path)
        if name in ("of", "_found") and call.args and constant(call.args[0])
    }
    # Problems of the graph that are not fatal become findings under their own code.
    given |= {
        constant(call.args[0])
        for path in python_files("migrations_audit/engine")
        for name, call in calls(path)
        if name in ("Problem", "complain")
        and any(
            keyword.arg == "fatal" and getattr(keyword.value, "value", True) is not True for keyword in call.keywords
        )
    }
    given |= {TargetStatus.REGRESSED.value, TargetStatus.TABLES_MISSING.value}

    assert len(given) > 20
    assert given - {""} <= set(rules.BY_CODE)


def test_every_rule_has_a_case_that_triggers_it_and_one_that_does_not() -> None:
    assert {part.name: {code for code, _ in (*part.triggers, *part.quiet)} - part.codes for part in PARTS} == {
        part.name: set() for part in PARTS
    }
    assert set().union(*(part.codes for part in PARTS)) == set(rules.BY_CODE)
