"""The rules about scripts, their graph and the target."""

from __future__ import annotations

from typing import Final

from migrations_audit.engine.findings.rule import Rule
from migrations_audit.severities import Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE

OF_SCRIPTS: Final = (
    Rule(
        "no_downgrade",
        _W,
        "The revision has no downgrade. For a rollback through it this is an error.",
        "Write a downgrade, or write down how the database is brought back without one.",
    ),
    Rule(
        "not_transactional",
        _W,
        "The revision works outside a transaction, or may do so. If it fails, part of it stays.",
        "Put what must be outside into a revision of its own, with one statement.",
    ),
    Rule(
        "ddl_not_rolled_back",
        _W,
        "The engine cannot roll back DDL: if a revision fails, part of it stays.",
        "Keep revisions to one statement each, and have a backup whose restore was tried.",
    ),
    Rule(
        "autocommit_block",
        _N,
        "The revision commits what came before and goes on outside the transaction.",
        "Keep such a block in a revision of its own, so that it can be repeated.",
    ),
    Rule(
        "concurrently_without_autocommit",
        _E,
        "CONCURRENTLY stands outside an autocommit_block: PostgreSQL refuses it inside a transaction.",
        "Put it into `with op.get_context().autocommit_block():`.",
    ),
    Rule(
        "reflection",
        _W,
        "The revision reads the database to decide what it does, so that it may do something else on each target.",
        "Write the change out. Two targets at the same revision should be alike.",
    ),
    Rule(
        "imports_application",
        _W,
        "The revision imports code that does not belong to Alembic or SQLAlchemy: what that code does is not in the approved "
        "text, and it changes with every release.",
        "Copy the few table definitions that are needed into the revision.",
    ),
    Rule(
        "calls_out",
        _E,
        "The revision can start programs or use the network. That is not rolled back, and no rule sees what it does.",
        "Do it outside the revision, and hand the result to it as plain values.",
    ),
    Rule(
        "dynamic_code",
        _E,
        "The revision runs code that it puts together or loads by name, so that its text does not show what runs.",
        "Write the code out.",
    ),
    Rule(
        "not_repeatable",
        _W,
        "The revision depends on the clock, on chance or on the worker's environment: two runs of it may differ.",
        "Use a fixed value, or have the server compute it.",
    ),
    Rule(
        "reads_file",
        _W,
        "The revision opens a file, whose content is not shown with it.",
        "Write the SQL into the revision.",
    ),
    Rule(
        "built_sql",
        _W,
        "SQL is put together from pieces while the revision runs, so that its text is not what is executed.",
        "Write the statement out, and give values as bound parameters.",
    ),
    Rule(
        "unreadable_script",
        _E,
        "The file of a revision could not be read for the rules about scripts.",
        "Correct the file, and plan again.",
    ),
    Rule(
        "edited_after_applied",
        _W,
        "The file of a revision is not the one that an earlier verified run executed. Databases at the same revision may differ.",
        "Restore the file, and put the change into a new revision.",
    ),
    Rule(
        "author_unknown",
        _W,
        "Nobody is named who wrote a file that is executed, so that its author can approve the plan.",
        "Have the project read from a git repository. Until then ask who wrote the files, and let somebody else approve.",
    ),
    Rule(
        "plain_secret",
        _W,
        "A file of the project holds what looks like a password.",
        "Put a placeholder there, have the worker deliver it, and change the password.",
    ),
)
OF_THE_GRAPH: Final = (
    Rule(
        "several_heads",
        _W,
        "The project has several heads.",
        "Merge them with `alembic merge`, or name one in every request.",
    ),
    Rule(
        "long_revision",
        _W,
        "A revision id is longer than the version table's column takes by default.",
        "Give it an id of at most 32 characters, or widen the column first.",
    ),
    Rule(
        "label_unusable",
        _W,
        "A branch label cannot be used in a request.",
        "Rename it: letters, digits, dots, hyphens and _.",
    ),
    Rule(
        "labels_not_literal",
        _W,
        "Branch labels are computed and cannot be used in a request.",
        "Write them as plain text.",
    ),
    Rule(
        "folder_missing",
        _W,
        "A version folder holds no file.",
        "Correct version_locations in the configuration.",
    ),
    Rule(
        "sourceless",
        _W,
        "Compiled revisions without a source file are neither frozen nor run.",
        "Keep the source files, and remove sourceless.",
    ),
    Rule(
        "env_chooses_folders",
        _W,
        "env.py sets the version folders itself; those of the configuration were taken.",
        "Name the folders in the configuration, as version_locations.",
    ),
)
OF_THE_TARGET: Final = (
    Rule(
        "regressed",
        _W,
        "The plan starts from a version that went back without a rollback of the portal's.",
        "Find out who took it back, before anything runs.",
    ),
    Rule(
        "tables_missing",
        _W,
        "The plan starts from a database that lacks tables which a verified run made.",
        "Find out who removed them, before anything runs.",
    ),
    Rule(
        "adopts",
        _W,
        "A database is noted at a revision, and nothing is executed.",
        "Compare its schema with that revision by hand where the portal could not.",
    ),
    Rule(
        "adopts_unseen",
        _W,
        "No other database of the project was read at that revision, so there was nothing to compare with.",
        "Bring a scratch database to the revision, check it, and plan again.",
    ),
    Rule(
        "adopts_same",
        _N,
        "The catalog equals that of another database at the revision.",
        "Nothing is needed.",
    ),
    Rule(
        "adopts_different",
        _E,
        "The catalog differs from that of another database at the revision.",
        "Bring the database to the revision by hand first, or adopt an earlier one.",
    ),
)
