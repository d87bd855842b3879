"""The rows of a version table, looked at before anything is concluded from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from migrations_audit.engine.redaction import clean
from migrations_audit.engine.session import CannotRead

MAX_REVISION_ROWS: Final = 1000
MAX_REVISION_ID: Final = 255


class UnreadableVersionTable(CannotRead):
    """The version table is not one that Alembic wrote."""

    code = "unreadable_version_table"


def checked(rows: Sequence[str | None], *, table: str) -> tuple[str, ...]:
    """The revisions in ``rows``, sorted. Raises UnreadableVersionTable for what Alembic never writes.

    Ask the server for one row more than MAX_REVISION_ROWS at most.
    """
    name = clean(table)
    if len(rows) > MAX_REVISION_ROWS:
        raise UnreadableVersionTable(
            f"{name} has more than {MAX_REVISION_ROWS} rows. It is not a version table of Alembic."
        )
    found = []
    for row in rows:
        if not row or not row.isprintable() or row != row.strip() or len(row) > MAX_REVISION_ID:
            shown = "NULL" if row is None else repr(row[:MAX_REVISION_ID])
            raise UnreadableVersionTable(
                f"{name} holds {shown}, which is no revision. Look at the table and correct it."
            )
        found.append(row)
    if len(set(found)) < len(found):
        raise UnreadableVersionTable(f"{name} holds a revision twice. Look at the table and remove the copy.")
    return tuple(sorted(found))


def wrong_kind(table: str, kind: str) -> UnreadableVersionTable:
    """What to raise for a version table that is ``kind``, "a view" for example."""
    return UnreadableVersionTable(f"{clean(table)} is {kind}, not a table. What it shows proves nothing.")


def without_column(table: str) -> UnreadableVersionTable:
    """What to raise for a version table without the column of Alembic."""
    return UnreadableVersionTable(
        f"{clean(table)} has no column version_num of a text type. Set the project's version table."
    )
