"""The schema of a target as text: read, compared, told. docs/rehearsal.md says what is part of it and what is not."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from migrations_audit import hashchain
from migrations_audit.engine import catalog_queries, catalog_queries_beside
from migrations_audit.engine.redaction import clean
from migrations_audit.engine.types import Catalog, Change
from migrations_audit.errors import PortalError

MAX_SHOWN: Final = 160

# The order in which a difference is told: what others rest on first. A table and all that belongs to it stay together.
_FIRST: Final = ("schema", "extension", "server", "collation", "enum", "domain", "type", "cast", "sequence")
_OF_TABLES: Final = ("table", "foreign table", "column", "constraint", "row security", "policy", "trigger", "rule")
_LAST: Final = (
    "index",
    "view",
    "materialized view",
    "function",
    "procedure",
    "aggregate",
    "statistics",
    "publication",
    "event trigger",
)
_KINDS: Final = {kind: rank for rank, kind in enumerate((*_FIRST, *_OF_TABLES, *_LAST))}
_KIND: Final = re.compile("|".join(sorted(_KINDS, key=len, reverse=True)))
_IDENTIFIER: Final = r'(?:"(?:[^"]|"")*"|[^".(]+)'
_WHOLE_TABLES: Final = ("table", "foreign table", "row security")
"""Kinds whose key is that of a whole table; the others name one of its parts."""


KINDS: Final = hashlib.sha256(
    repr(
        (catalog_queries_beside.PLAIN, catalog_queries.CONSTRAINTS, catalog_queries.INDEXES, catalog_queries.FUNCTIONS)
    ).encode()
).hexdigest()[:16]
"""What a reading of this version of the portal holds. One of another version may hold other kinds of objects: a difference
between the two says nothing about the database."""


class SchemaChanging(PortalError):
    """The schema changed while it was read, so that the parts do not belong together. Read it again."""

    code = "schema_changing"


def read(connection: psycopg.Connection[TupleRow]) -> Catalog:
    """Read what is compared of the connected database's catalog; call it inside ``session.snapshot``.

    Two databases with the same schema have the same fingerprint, however each came to it. Data, owners, grants, comments, the
    values of sequences and the order of columns are not part of it. Raises SchemaChanging.
    """
    plain = [_rows(connection, query) for query in catalog_queries_beside.PLAIN]
    constraints = _rows(connection, catalog_queries.CONSTRAINTS)
    indexes = _rows(connection, catalog_queries.INDEXES)
    functions = [
        (key, f"{definition}, sha256 {hashlib.sha256(source.encode()).hexdigest()}", "")
        for key, definition, source in _rows(connection, catalog_queries.FUNCTIONS)
    ]
    rows = itertools.chain(*plain, constraints, indexes, functions)
    body = dict(sorted((key, definition) for key, definition, _ in rows))
    return Catalog(
        fingerprint=hashchain.digest(hashchain.canonical(body)),
        body=body,
        invalid_indexes=_flagged(indexes, "index "),
        unvalidated_constraints=_flagged(constraints, "constraint "),
    )


def diff(before: Catalog | Mapping[str, str], after: Catalog | Mapping[str, str]) -> tuple[Change, ...]:
    """What makes ``after`` out of ``before``, in the order in which a person wants to read it."""
    old = before.body if isinstance(before, Catalog) else before
    new = after.body if isinstance(after, Catalog) else after
    changes = [
        Change(
            sign="+" if key not in old else "-" if key not in new else "~",
            key=key,
            before=old.get(key, ""),
            after=new.get(key, ""),
        )
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
    ]
    return tuple(sorted(changes, key=lambda change: _place(change.key)))


def readable(changes: Iterable[Change]) -> list[str]:
    """One line for each change, fit to show."""
    return [_line(change) for change in changes]


def table_of(part: str) -> str:
    """The qualified table of a qualified part of it: ``public.orders`` for ``public.orders.id``."""
    return ".".join(re.findall(_IDENTIFIER, part)[:-1])


def names(qualified: str) -> tuple[str, ...]:
    """The parts of a qualified name as they are stored: ``public``, ``Orders`` for ``public."Orders"``."""
    parts = re.findall(_IDENTIFIER, qualified)
    return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)


def _rows(connection: psycopg.Connection[TupleRow], query: sql.Composed) -> list[TupleRow]:
    # The rows come from the snapshot, but PostgreSQL writes the definitions from what is true now: of an object dropped
    # meanwhile it tells nothing, or that it cannot find it.
    try:
        rows = connection.execute(query).fetchall()
    except psycopg.errors.InternalError_:
        raise SchemaChanging from None
    if any(part is None for row in rows for part in row):
        raise SchemaChanging
    return rows


def _flagged(rows: Iterable[TupleRow], prefix: str) -> tuple[str, ...]:
    return tuple(sorted(key.removeprefix(prefix) for key, _, flag in rows if flag))


def _place(key: str) -> tuple[int, str, int, str]:
    found = _KIND.match(key)
    kind = found[0] if found else ""
    rank = _KINDS.get(kind, len(_KINDS))
    if kind not in _OF_TABLES:
        return (rank if kind in _FIRST else len(_KINDS) + rank, "", 0, key)
    # An engine without schemas names a table alone.
    names = re.findall(_IDENTIFIER, key[len(kind) + 1 :])
    own = names if kind in _WHOLE_TABLES else names[:-1]
    return (len(_FIRST), ".".join(own), rank, key)


def _line(change: Change) -> str:
    # White space in a definition is layout, in a name it is part of the name.
    name = clean(str(change).replace("\n", "\\n").replace("\t", "\\t"))
    before, after = (clean(" ".join(text.split())) for text in (change.before, change.after))
    if change.sign == "~":
        alike = next((place for place, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), 0)
        begin = max(0, alike - MAX_SHOWN // 2)
        return f"{name}: {_cut(before, begin)} → {_cut(after, begin)}"
    return f"{name}: {_cut(after, 0)}" if change.sign == "+" and after else name


def _cut(text: str, begin: int) -> str:
    if len(text) <= MAX_SHOWN:
        return text
    head = "…" if begin else ""
    tail = "…" if len(text) > begin + MAX_SHOWN else ""
    return f"{head}{text[begin : begin + MAX_SHOWN]}{tail}"
