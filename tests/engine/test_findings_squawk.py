"""squawk's rules in our words; and squawk absent, hanging, talking nonsense or not understanding."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from migrations_audit.engine.findings import rules, squawk
from migrations_audit.severities import Severity
from tests.findings import of_squawk


def codes(sql: str) -> list[str]:
    return [each.code for each in squawk.of_sql(sql, place="x", in_transaction=True)]


QUIET = [
    "CREATE TABLE t (id int); CREATE INDEX i ON t (id)",
    "CREATE INDEX CONCURRENTLY i ON orders (a)",
    "ALTER TABLE lines ADD CONSTRAINT f FOREIGN KEY (o) REFERENCES orders (id) NOT VALID",
    "ALTER TABLE orders VALIDATE CONSTRAINT c",
    "ALTER TABLE orders ADD COLUMN a int DEFAULT 1",
    "CREATE TABLE t (id int, name varchar(10), at timestamp)",
    "BEGIN; CREATE TABLE t (id serial PRIMARY KEY); COMMIT",
    "-- nothing but a comment",
    "",
]


@pytest.mark.parametrize("rule", of_squawk.RULES)
def test_a_rule_finds_with_our_severity_and_advice(rule: str) -> None:
    code, (sql, _) = squawk.CODES[rule], of_squawk.RULES[rule]

    (found,) = squawk.of_sql(f"SELECT 1;\n{sql};", place="x", in_transaction=True, pg_version="18.6 (Debian)")

    assert (found.code, found.place) == (code, "x, line 2")
    assert (found.severity, found.advice) == (rules.BY_CODE[code].severity, rules.BY_CODE[code].advice)
    assert found.sentence.endswith(rules.BY_CODE[code].meaning)


def test_what_it_finds_is_told_of_the_statement_at_that_place_and_not_of_the_first_in_its_line() -> None:
    sql = (
        'CREATE TABLE a (id int); CREATE INDEX i ON users ("ü"); DROP INDEX j;\n'
        "-- a\rALTER TABLE\n  k RENAME TO l; CREATE INDEX m ON\nbig (x)"
    )

    found = squawk.of_sql(sql, place="x", in_transaction=True)

    assert [(each.code, each.sentence.partition(":")[0], each.place) for each in found] == [
        ("index_blocks", 'CREATE INDEX i ON users ("ü")', "x, line 1"),
        ("index_blocks", "DROP INDEX j", "x, line 1"),
        ("renames", "ALTER TABLE k RENAME TO l", "x, line 2"),
        ("index_blocks", "CREATE INDEX m ON big (x)", "x, line 3"),
    ]


@pytest.mark.parametrize("sql", QUIET)
def test_it_leaves_alone(sql: str) -> None:
    assert codes(sql) == []


def test_every_code_that_it_can_give_has_a_rule_and_cases_of_its_own() -> None:
    assert set(squawk.CODES.values()) <= set(rules.BY_CODE)
    assert set(of_squawk.RULES) == set(squawk.CODES)


@pytest.mark.parametrize(
    "comment",
    ["-- squawk-ignore-file\n", "-- squawk-ignore require-concurrent-index-creation\n", "/* squawk-ignore-file */"],
)
def test_a_comment_in_a_script_does_not_silence_it(comment: str) -> None:
    assert codes(f"{comment}CREATE INDEX i ON orders (a);") == ["index_blocks"]


def test_a_configuration_that_lies_about_does_not_silence_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["require-concurrent-index-creation"]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    assert codes("CREATE INDEX i ON orders (a);") == ["index_blocks"]


def test_a_statement_that_it_does_not_understand_is_told_and_the_others_are_looked_at() -> None:
    found = squawk.of_sql("CREATE INDEX i ON orders (a);\nSELEC 1;\nDROP INDEX j;", place="x", in_transaction=True)

    assert [(each.code, each.place) for each in found] == [
        ("lint_could_not_run", "x, line 2"),
        ("index_blocks", "x, line 1"),
        ("index_blocks", "x, line 3"),
    ]
    assert "SELEC 1" in found[0].sentence


def test_what_it_never_understands_is_one_finding_more_and_not_nothing() -> None:
    found = squawk.of_sql("SELECT (((;", place="x", in_transaction=True)

    assert found
    assert {each.code for each in found} == {"lint_could_not_run"}


def program(tmp_path: Path, script: str) -> str:
    path = tmp_path / "squawk"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "ended with code 3"),
        ("echo broken >&2; exit 101", "ended with code 101: broken"),
        ("kill -9 $$", "ended with code -9"),
        ("exit 0", "not the list of findings"),
        ("echo '<html>'; exit 1", "not the list of findings"),
        ("echo '{\"a\": 1}'; exit 1", "not the list of findings"),
        ('echo \'[{"rule_name": "x"}]\'; exit 1', "not the list of findings"),
        ("echo '[[[1]]]'; exit 1", "not the list of findings"),
        ("echo '[]'; exit 1", "contradict"),
        ('echo \'[{"rule_name": "x", "line": 0, "message": "y"}]\'; exit 0', "contradict"),
        ("head -c 9000000 /dev/zero", "more output than it may"),
    ],
)
def test_a_linter_that_cannot_be_relied_on_is_a_finding_with_the_reason(
    tmp_path: Path, script: str, reason: str
) -> None:
    (found,) = squawk.of_sql("SELECT 1", place="x", in_transaction=True, program=program(tmp_path, script))

    assert found.code == "lint_could_not_run"
    assert found.severity in (Severity.WARNING, Severity.ERROR)
    assert reason in found.sentence


def test_a_linter_that_hangs_is_ended_and_told(tmp_path: Path) -> None:
    hanging = program(tmp_path, "sleep 600")

    (found,) = squawk.of_sql("SELECT 1", place="x", in_transaction=True, program=hanging, timeout_s=0.2)

    assert (found.code, "longer than 0.2 s" in found.sentence) == ("lint_could_not_run", True)


def test_a_linter_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (absent,) = squawk.of_sql("SELECT 1", place="x", in_transaction=True, program=str(tmp_path / "none"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (not_installed,) = squawk.of_sql("SELECT 1", place="x", in_transaction=True)

    assert absent.code == not_installed.code == "lint_could_not_run"
    assert "install squawk-cli" in not_installed.sentence


def test_a_rule_without_words_of_ours_is_told_in_its_own(tmp_path: Path) -> None:
    said = '[{"rule_name": "ban-new-thing", "line": 0, "message": "Do not\\u0007 do it."}]'
    teller = program(tmp_path, f"printf %s {shlex.quote(said)}; exit 1")

    (found,) = squawk.of_sql("SELECT 1", place="x", in_transaction=True, program=teller)

    assert (found.code, found.severity) == ("lint_unnamed", Severity.WARNING)
    assert found.sentence == "SELECT 1: Do not do it (squawk's rule ban-new-thing)."


def test_it_gets_nothing_of_the_workers_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://canary")
    teller = program(tmp_path, "env >&2; exit 7")

    (found,) = squawk.of_sql("SELECT 1", place="x", in_transaction=True, program=teller)

    assert "code 7" in found.sentence
    assert "canary" not in found.sentence


def test_sql_that_is_too_long_is_told() -> None:
    assert codes("-" * (squawk.LONGEST_SQL + 1)) == ["lint_could_not_run"]
