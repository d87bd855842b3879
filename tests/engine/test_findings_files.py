"""Rules about a revision's text: how they are told, and that nothing of it is executed."""

from __future__ import annotations

import hashlib

import pytest

from migrations_audit.engine.findings import files, plain_text, rules
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.severities import Severity
from migrations_audit.states import Engine
from tests.findings.of_scripts import CLEAN, source

PATH = "versions/r2.py"


def codes(upgrade: str, **more: str) -> set[str]:
    return {each.code for each in files.of_revision(source(upgrade, **more), path=PATH, revision="r2")}


def test_a_plain_revision_has_no_finding() -> None:
    assert codes(CLEAN) == set()


@pytest.mark.parametrize("downgrade", ["pass", "raise NotImplementedError", "'''Nothing.'''\nreturn"])
def test_a_revision_without_a_way_back_is_told(downgrade: str) -> None:
    assert codes(CLEAN, downgrade=downgrade) == {"no_downgrade"}


def test_one_without_the_function_is_told_too() -> None:
    text = source(CLEAN).partition(b"def downgrade")[0]

    assert [each.code for each in files.of_revision(text, path=PATH)] == ["no_downgrade"]


def test_for_a_rollback_it_is_an_error() -> None:
    (found,) = files.of_revision(source(CLEAN, downgrade="pass"), path=PATH, revision="r2", is_rollback=True)

    assert found == Finding(
        "no_downgrade",
        Severity.ERROR,
        PATH,
        "r2 has no downgrade; this rollback will fail there.",
        rules.BY_CODE["no_downgrade"].advice,
    )


def test_a_rule_is_told_once_with_its_lines() -> None:
    text = source("op.execute(f'{a}')\n" * 9)

    (found,) = files.of_revision(text, path=PATH, revision="r2")

    digest = hashlib.sha256(text).hexdigest()[:12]
    assert found.sentence.startswith(f"r2 (file {digest}), lines 12, 13, 14, 15, 16 and 4 more: SQL is put together")
    assert (found.place, found.severity) == (PATH, Severity.WARNING)


@pytest.mark.parametrize("text", [b"def upgrade(:", b"\x00", b"x = " + b"(" * 5_000 + b")" * 5_000, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error_and_not_nothing(text: bytes) -> None:
    (found,) = files.of_revision(text, path=PATH)

    assert (found.code, found.severity) == ("unreadable_script", Severity.ERROR)


def test_nothing_of_the_file_is_executed() -> None:
    text = b"raise SystemExit('executed')\n" + source(CLEAN)

    assert {each.code for each in files.of_revision(text, path=PATH)} == set()


@pytest.mark.parametrize(
    ("upgrade", "codes"),
    [
        ('op.drop_table("t")', {"drop_table"}),
        ('with op.batch_alter_table("t") as batch:\n    batch.drop_column("a")', {"drop_column"}),
        ('op.drop_constraint("c", "t")', {"drop_object"}),
        ('op.rename_table("t", "u")', {"renames"}),
        ('op.execute("DELETE FROM t; DROP TABLE u")', {"delete_without_where", "drop_table"}),
        ('op.execute(sa.text("TRUNCATE t"))', {"truncate"}),
        ('op.execute("SELECT 1")\nop.create_table("t")', set()),
        ("op.execute(statement)", set()),
    ],
)
def test_without_sql_what_a_script_destroys_plainly_is_read_from_its_text(upgrade: str, codes: set[str]) -> None:
    found = plain_text.of_revision(
        source(upgrade), path=PATH, revision="r2", is_rollback=False, engine=Engine.POSTGRESQL
    )

    assert {each.code for each in found} == codes
    assert {each.place.partition(",")[0] for each in found} <= {PATH}


def test_without_sql_a_rollback_is_read_in_its_own_function() -> None:
    text = source('op.execute("TRUNCATE t")', downgrade='op.drop_column("t", "a")')

    found = plain_text.of_revision(text, path=PATH, revision="r2", is_rollback=True, engine=Engine.SQLITE)

    assert [(each.code, each.place) for each in found] == [("drop_column", PATH)]


def test_without_sql_a_file_that_cannot_be_read_is_told_by_the_other_rules_alone() -> None:
    assert plain_text.of_revision(b"(", path=PATH, revision="r2", is_rollback=False, engine=Engine.SQLITE) == ()
