"""The rules about SQL: our own severity, what it means, the safer way."""

from __future__ import annotations

from typing import Final

from migrations_audit.engine.findings.rule import Rule
from migrations_audit.severities import Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE

OF_THE_CHECK: Final = (
    Rule(
        "lint_could_not_run",
        _E,
        "The rules about SQL could not be applied, or not to all of it. Nothing is known of what they would have found. "
        "For a single statement this is a warning.",
        "Read the scripts line by line. Have the worker repaired if the sentence says so, and plan again.",
    ),
    Rule(
        "lint_other_engine",
        _N,
        "The rules about locks and rewrites are PostgreSQL's. Elsewhere only what destroys data, and the scripts, are read.",
        "Rehearse the run on a copy of the database, and look at its locks there.",
    ),
    Rule(
        "lint_unnamed",
        _W,
        "The linter found something that this portal has no words of its own for.",
        "Look the rule up in the linter's documentation.",
    ),
)
OF_DESTRUCTION: Final = (
    Rule(
        "drop_table",
        _E,
        "A table is dropped, with all its rows. Whoever still uses it gets errors.",
        "Release code that does not use it first, rename the table, wait, then drop it. Have a backup whose restore was tried.",
    ),
    Rule(
        "drop_column",
        _E,
        "A column is dropped, with all its values. Code that names it gets errors.",
        "Release code that does not use it first, and drop it in a later run. Keep a copy of the values.",
    ),
    Rule(
        "drop_schema",
        _E,
        "A schema or database is dropped.",
        "Drop what is in it by name, in a run of its own, after a backup whose restore was tried.",
    ),
    Rule(
        "drop_owned",
        _E,
        "Everything that a role owns in the database is dropped, and its rights are taken, without naming any of it.",
        "Drop by name what is to go, or hand it over with REASSIGN OWNED.",
    ),
    Rule(
        "drop_cascade",
        _E,
        "CASCADE drops or empties also what depends on it, without naming it.",
        "Name each object that is to go, so that whoever approves can read it.",
    ),
    Rule(
        "drop_object",
        _W,
        "A view, type, function, sequence, extension, trigger, policy or constraint is dropped. What relies on it "
        "fails, or loses a guarantee.",
        "Make sure that nothing relies on it any more, and keep its definition for the way back.",
    ),
    Rule(
        "truncate",
        _E,
        "A table is emptied. That takes ACCESS EXCLUSIVE, and no WHERE limits it.",
        "Delete in batches with a WHERE, after a backup; or move the table aside by renaming it.",
    ),
    Rule(
        "delete_without_where",
        _E,
        "Every row of a table is deleted.",
        "Write a WHERE that says which rows are meant, and delete in batches outside the schema change.",
    ),
    Rule(
        "update_without_where",
        _E,
        "Every row of a table is rewritten and locked until the commit.",
        "Update in batches with a WHERE, outside the schema change.",
    ),
    Rule(
        "merge_deletes",
        _W,
        "A MERGE deletes rows: which ones, its source and conditions decide while it runs.",
        "Delete in a statement of its own, in batches, after counting the rows that it means.",
    ),
    Rule(
        "protection_removed",
        _W,
        "Row level security is switched off, or everybody is granted a right.",
        "Grant to a role by name, and have whoever owns the data agree.",
    ),
)
OF_LOCKS: Final = (
    Rule(
        "not_in_transaction",
        _E,
        "The statement cannot run inside a transaction, and it stands in one: the run fails there.",
        "Put it into `with op.get_context().autocommit_block():`, in a revision of its own.",
    ),
    Rule(
        "nested_transaction",
        _E,
        "The revision begins or ends a transaction by itself, inside that of Alembic.",
        "Leave BEGIN, COMMIT and ROLLBACK to Alembic.",
    ),
    Rule(
        "references_lock",
        _W,
        "A new table that refers to another takes SHARE ROW EXCLUSIVE on that one: its writes wait until the commit.",
        "Create the table without the reference, add it NOT VALID in a second revision, and VALIDATE it in a third.",
    ),
    Rule(
        "foreign_key_blocks",
        _W,
        "A foreign key is added and checked at once: writes to both tables wait while every row is read.",
        "Add it NOT VALID, and VALIDATE CONSTRAINT in a later revision.",
    ),
    Rule(
        "constraint_blocks",
        _W,
        "A constraint is added and checked at once: the table is locked while every row is read.",
        "Add it NOT VALID, and VALIDATE CONSTRAINT in a later revision.",
    ),
    Rule(
        "unique_blocks",
        _W,
        "A UNIQUE or PRIMARY KEY constraint builds its index under ACCESS EXCLUSIVE: reads and writes wait.",
        "Create a unique index CONCURRENTLY, then add the constraint USING INDEX.",
    ),
    Rule(
        "index_blocks",
        _W,
        "An index is built or dropped without CONCURRENTLY: writes to the table wait meanwhile.",
        "Use postgresql_concurrently=True inside an autocommit_block, in a revision of its own.",
    ),
    Rule(
        "reindex_blocks",
        _W,
        "REINDEX without CONCURRENTLY: reads and writes wait.",
        "REINDEX … CONCURRENTLY, outside a transaction.",
    ),
    Rule(
        "partition_blocks",
        _W,
        "A partition is detached under ACCESS EXCLUSIVE: reads and writes of the whole table wait.",
        "DETACH … CONCURRENTLY, outside a transaction.",
    ),
    Rule(
        "not_null_scans",
        _W,
        "SET NOT NULL reads the whole table under ACCESS EXCLUSIVE.",
        "Add CHECK (column IS NOT NULL) NOT VALID, validate it in a later revision, then SET NOT NULL and drop the check.",
    ),
    Rule(
        "rewrites_table",
        _E,
        "The whole table is written anew under ACCESS EXCLUSIVE: reads and writes wait until that is over.",
        "Add a new column or table, fill it in batches, and switch over in a later revision.",
    ),
    Rule(
        "column_type_change",
        _W,
        "A column gets another type under ACCESS EXCLUSIVE. Unless text only grows longer, the table is written anew.",
        "Add a new column, fill it in batches, and switch over in a later revision.",
    ),
    Rule(
        "explicit_lock",
        _W,
        "A table is locked by name until the commit.",
        "Leave locking to the statements, or choose the weakest mode that is enough.",
    ),
)
OF_COMPATIBILITY: Final = (
    Rule(
        "required_column",
        _E,
        "A column that must have a value is added without a default: it fails on a table with rows, and so do old writers.",
        "Add it as nullable, fill it in batches, and make it NOT NULL in a later revision.",
    ),
    Rule(
        "renames",
        _W,
        "Something is renamed: code that uses the old name gets errors from the commit on.",
        "Add the new name beside the old one, move the code over, and remove the old one in a later revision.",
    ),
    Rule(
        "drops_not_null",
        _N,
        "A column may be empty from now on.",
        "Make sure that all code which reads it can stand a NULL.",
    ),
    Rule(
        "domain_constraint",
        _W,
        "A domain has a constraint, which cannot be changed without checking every column of it at once.",
        "Put the check at the table's column.",
    ),
    Rule(
        "column_type_doubtful",
        _N,
        "A column has a type that is often regretted: character(n), or a 16-bit number.",
        "Use text or varchar, and bigint.",
    ),
    Rule(
        "enum_value_order",
        _N,
        "An enum gets a value without BEFORE or AFTER, and cannot lose it again.",
        "Say where it stands, and remember that a rollback cannot take it back.",
    ),
    Rule(
        "name_too_long",
        _W,
        "A name is longer than PostgreSQL keeps: it is cut, and the next comparison finds a difference.",
        "Choose a name of at most 63 bytes.",
    ),
    Rule(
        "do_block",
        _W,
        "A DO block decides while it runs what it executes. What is written plainly in it was read, the rest was not.",
        "Write the statements plainly, or rehearse the run on a copy and read what it did.",
    ),
)
