"""Which tables the SQL of a plan promises: what must be there when all of it has been executed.

A narrow reading of SQL that Alembic wrote or sent. Only CREATE TABLE promises anything, and whatever could take a table away
again without naming it plainly (CASCADE, DO blocks, schemas that move or go, partitions) makes the whole SQL promise nothing.
"""

from __future__ import annotations

import re
from typing import Final

from migrations_audit.engine.types import Catalog

_NOT_STATEMENTS: Final = re.compile(r"(\$\w*\$).*?\1|--[^\r\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_UNFORESEEABLE: Final = re.compile(
    r"\b(?:(?<!DELETE )(?<!UPDATE )CASCADE\s*(?:;|\Z)|DO\s+(?:LANGUAGE|\$)|(?:DROP|ALTER)\s+SCHEMA|SET\s+SCHEMA"
    r"|PARTITION\s+OF|pg_temp|ROLLBACK\s+TO)",
    re.IGNORECASE,
)
_PART: Final = r'(?:"(?:[^"]|"")+"|`[^`]+`|[\w$]+)'
_NAME: Final = rf"{_PART}(?:\s*\.\s*{_PART})?"
_MADE: Final = re.compile(
    rf"(?:\A|;)\s*CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?({_NAME})", re.IGNORECASE
)
_TAKEN: Final = re.compile(
    rf"(?:\A|;)\s*(?:DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({_NAME}(?:\s*,\s*{_NAME})*)"
    rf"|ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?({_NAME})\s+RENAME\s+TO)",
    re.IGNORECASE,
)


def of_sql(sql: str, *, version_table: str) -> tuple[str, ...]:
    """The tables that ``sql`` makes and never names again in a DROP or RENAME. The version table is no promise."""
    if _UNFORESEEABLE.search(re.sub(r"--[^\r\n]*|'(?:[^']|'')*'", " ", sql)):
        return ()
    plain = _NOT_STATEMENTS.sub(" ", sql)
    taken = {_table(name) for found in _TAKEN.findall(plain) for name in re.findall(_NAME, found[0] or found[1])}
    made = dict.fromkeys(_plain(found) for found in _MADE.findall(plain))
    return tuple(name for name in made if name.rpartition(".")[2] not in taken | {version_table})


def broken(promised: tuple[str, ...], catalog: Catalog, *, folds_names: bool = False) -> tuple[str, ...]:
    """The promises that ``catalog`` does not keep, as sentences. A name without a schema is looked for in all of them.

    ``folds_names``: the engine may keep an unquoted name as it was written, so that case decides nothing.
    """
    tables = {_plain(key.removeprefix("table ")) for key in catalog.body if key.startswith("table ")}
    names = tables | {table.rpartition(".")[2] for table in tables}
    if folds_names:
        return tuple(
            f"table {name} is absent" for name in promised if name.lower() not in {each.lower() for each in names}
        )
    return tuple(f"table {name} is absent" for name in promised if name not in names)


def _table(name: str) -> str:
    return _plain(name).rpartition(".")[2]


def _plain(name: str) -> str:
    """The name as PostgreSQL stores it: folded to lower case unless quoted."""
    parts = re.findall(_PART, name)
    return ".".join(_stored(part) for part in parts)


def _stored(part: str) -> str:
    if part.startswith('"'):
        return part[1:-1].replace('""', '"')
    return part[1:-1] if part.startswith("`") else part.lower()
