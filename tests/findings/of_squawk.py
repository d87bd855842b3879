"""squawk's rules: SQL that breaks one, and the safer way or what resembles it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrations_audit.engine.findings import squawk
from tests.findings.cases import Part

ADD: Final = "ALTER TABLE orders ADD"
ALTER: Final = "ALTER TABLE orders ALTER COLUMN a"
FOREIGN_KEY: Final = "ALTER TABLE lines ADD CONSTRAINT f FOREIGN KEY (o) REFERENCES orders (id)"

RULES: Final = {
    "adding-field-with-default": (f"{ADD} COLUMN a uuid DEFAULT gen_random_uuid()", f"{ADD} COLUMN a int DEFAULT 1"),
    "adding-foreign-key-constraint": (FOREIGN_KEY, f"{FOREIGN_KEY} NOT VALID"),
    "adding-not-nullable-field": (f"{ALTER} SET NOT NULL", f"{ADD} CONSTRAINT c CHECK (a IS NOT NULL) NOT VALID"),
    "adding-required-field": (f"{ADD} COLUMN a int NOT NULL", f"{ADD} COLUMN a int NOT NULL DEFAULT 0"),
    "adding-serial-primary-key-field": (f"{ADD} PRIMARY KEY (a)", f"{ADD} PRIMARY KEY USING INDEX i"),
    "ban-alter-domain-with-add-constraint": (
        "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 1)",
        "ALTER DOMAIN d SET DEFAULT 1",
    ),
    "ban-char-field": ("CREATE TABLE t (c char(3))", "CREATE TABLE t (c varchar(3))"),
    "ban-create-domain-with-constraint": ("CREATE DOMAIN d AS int CHECK (VALUE > 1)", "CREATE DOMAIN d AS int"),
    "ban-drop-not-null": (f"{ALTER} DROP NOT NULL", f"{ALTER} DROP DEFAULT"),
    "changing-column-type": (f"{ALTER} TYPE bigint", f"{ADD} COLUMN a bigint"),
    "constraint-missing-not-valid": (
        f"{ADD} CONSTRAINT c CHECK (a > 1)",
        f"{ADD} CONSTRAINT c CHECK (a > 1) NOT VALID",
    ),
    "disallowed-unique-constraint": (f"{ADD} CONSTRAINT u UNIQUE (a)", f"{ADD} CONSTRAINT u UNIQUE USING INDEX i"),
    "identifier-too-long": (f"{ADD} COLUMN {'a' * 80} int", f"{ADD} COLUMN {'a' * 63} int"),
    "prefer-bigint-over-smallint": ("CREATE TABLE t (n smallint)", "CREATE TABLE t (n bigint)"),
    "renaming-column": ("ALTER TABLE orders RENAME COLUMN a TO b", f"{ADD} COLUMN b int"),
    "renaming-object": ("ALTER VIEW v RENAME TO w", "CREATE VIEW w AS SELECT 1"),
    "renaming-table": ("ALTER TABLE orders RENAME TO sales", "CREATE TABLE sales (id int)"),
    "require-concurrent-index-creation": (
        "CREATE INDEX i ON orders (a)",
        "CREATE TABLE t (id int); CREATE INDEX i ON t (id); CREATE INDEX CONCURRENTLY j ON orders (a)",
    ),
    "require-concurrent-index-deletion": ("DROP INDEX i", "DROP INDEX CONCURRENTLY i"),
    "require-concurrent-partition-detach": (
        "ALTER TABLE p DETACH PARTITION q",
        "ALTER TABLE p DETACH PARTITION q CONCURRENTLY",
    ),
    "require-concurrent-reindex": ("REINDEX INDEX i", "REINDEX INDEX CONCURRENTLY i"),
    "require-enum-value-ordering": ("ALTER TYPE e ADD VALUE 'x'", "ALTER TYPE e ADD VALUE 'x' AFTER 'y'"),
}
"""By squawk's own name: what breaks the rule, and what does not."""


@dataclass(frozen=True)
class Linted:
    """SQL, and where one is wanted a linter that says something else than squawk does."""

    sql: str
    says: str = ""


def found(given: Linted, folder: Path) -> set[str]:
    program = None
    if given.says:
        program = folder / "linter"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{given.says}\nEND\nexit 1\n")
        program.chmod(0o700)
    said = squawk.of_sql(given.sql, place="x", in_transaction=True, program=str(program) if program else None)
    return {each.code for each in said}


UNHEARD_OF: Final = '[{"rule_name": "ban-new-thing", "line": 0, "message": "Do not do it."}]'
OF_SQUAWK: Final = Part(
    "squawk",
    found,
    [
        *((squawk.CODES[rule], Linted(breaks)) for rule, (breaks, _) in RULES.items()),
        ("lint_unnamed", Linted("SELECT 1", UNHEARD_OF)),
        ("lint_could_not_run", Linted("SELEC 1")),
    ],
    [
        *((squawk.CODES[rule], Linted(keeps)) for rule, (_, keeps) in RULES.items()),
        ("lint_unnamed", Linted("CREATE INDEX i ON orders (a)")),
        ("lint_could_not_run", Linted("SELECT 1")),
    ],
)
