"""Which tables the SQL of a plan promises: what must be there, and what must be gone, when all of it has been executed.

A narrow reading of SQL that Alembic wrote or sent, statement by statement: CREATE TABLE, DROP TABLE and ALTER TABLE … RENAME TO.
What stands in a function's body or a comment, and what is made of a temporary table, promises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from migrations_audit.engine.types import Catalog

_NOT_STATEMENTS: Final = re.compile(r"(\$\w*\$).*?\1|--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'", re.DOTALL)
_PART: Final = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_NAME: Final = rf"{_PART}(?:\s*\.\s*{_PART})?"
_STATEMENT: Final = re.compile(
    rf"""(?:\A|;)\s*(?:
        CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<made>{_NAME})
        |DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?P<gone>{_NAME}(?:\s*,\s*{_NAME})*)
        |ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<old>{_NAME})\s+RENAME\s+TO\s+(?P<new>{_PART})
    )""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class Promises:
    """Tables by name, with their schema where the SQL names one."""

    present: tuple[str, ...]
    absent: tuple[str, ...]


def of_sql(sql: str, *, version_table: str) -> Promises:
    """What ``sql`` promises after its last statement. The version table is Alembic's own affair and no promise."""
    state: dict[str, bool] = {}
    for found in _STATEMENT.finditer(_NOT_STATEMENTS.sub(" ", sql)):
        if found["made"]:
            state[_plain(found["made"])] = True
        elif found["gone"]:
            state.update((_plain(name), False) for name in re.findall(_NAME, found["gone"]))
        else:
            old = _plain(found["old"])
            state[old] = False
            state[".".join([*old.split(".")[:-1], _plain(found["new"])])] = True
    names = [name for name in state if name.rpartition(".")[2] != version_table]
    return Promises(
        present=tuple(name for name in names if state[name]), absent=tuple(name for name in names if not state[name])
    )


def broken(promises: Promises, catalog: Catalog) -> tuple[str, ...]:
    """The promises that ``catalog`` does not keep, as sentences."""
    tables = {_plain(key.removeprefix("table ")) for key in catalog.body if key.startswith("table ")}
    missing = [f"table {name} is absent" for name in promises.present if not _has(tables, name)]
    # A name without its schema may stand in another one by right, so only a full name can be said to be still there.
    left = [f"table {name} is still there" for name in promises.absent if "." in name and _has(tables, name)]
    return (*missing, *left)


def _has(tables: Iterable[str], name: str) -> bool:
    return any(table == name or (("." not in name) and table.rpartition(".")[2] == name) for table in tables)


def _plain(name: str) -> str:
    """The name as PostgreSQL stores it: folded to lower case unless quoted."""
    parts = re.findall(_PART, name)
    return ".".join(part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in parts)
