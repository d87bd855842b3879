"""The schema of a SQLite file as text, in the key language of ``engine.catalog``.

Tables are told by what SQLite understood of them, not by the text that made them: that text differs between a table that was
created so and one that was altered to it. Only CHECK clauses have to be taken from it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Final

from migrations_audit import hashchain
from migrations_audit.engine.types import Catalog

_PLAIN: Final = re.compile(r"[A-Za-z0-9_$]+")
_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|\w+|\S""", re.DOTALL)

_TABLES: Final = """
    SELECT l.name, l.type, l.wr, l.strict, coalesce(s.sql, '') FROM pragma_table_list l
      JOIN sqlite_schema s ON s.name = l.name AND s.type = 'table'
     WHERE l.schema = 'main' AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY l.name
"""
_COLUMNS: Final = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid'
_FOREIGN_KEYS: Final = """
    SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?) ORDER BY id, seq
"""
_INDEXES: Final = 'SELECT name, "unique", origin, partial FROM pragma_index_list(?)'
_INDEX_COLUMNS: Final = 'SELECT name, "desc", coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno'
_OTHERS: Final = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger')"
_HIDDEN: Final = {2: "generated", 3: "generated stored"}


def read(connection: sqlite3.Connection) -> Catalog:
    """Read the whole catalog; call it inside a transaction, so that it is of one moment."""
    body: dict[str, str] = {}
    for name, kind, without_rowid, strict, sql in connection.execute(_TABLES).fetchall():
        body.update(_table(connection, name, kind, bool(without_rowid), bool(strict), sql))
    for kind, name, table, sql in connection.execute(_OTHERS):
        names = (table, name) if kind == "trigger" else (name,)
        body[key(kind, *names)] = " ".join(_tokens(sql))
    body = dict(sorted(body.items()))
    return Catalog(fingerprint=hashchain.digest(hashchain.canonical(body)), body=body)


def key(kind: str, *names: str) -> str:
    """The key of an object, its names quoted where they are not plain."""
    return f"{kind} {'.'.join(name if _PLAIN.fullmatch(name) else _in_quotes(name) for name in names)}"


def _in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(
    connection: sqlite3.Connection, table: str, kind: str, without_rowid: bool, strict: bool, sql: str
) -> Iterator[tuple[str, str]]:
    tokens = _tokens(sql)
    if kind == "virtual":
        yield key("table", table), " ".join(tokens)
        return
    facts = {
        "table": True,
        "without rowid": without_rowid,
        "strict": strict,
        "autoincrement": "AUTOINCREMENT" in map(str.upper, tokens),
    }
    yield key("table", table), ", ".join(word for word, holds in facts.items() if holds)
    primary: dict[int, str] = {}
    for name, type_, not_null, default, position, hidden in connection.execute(_COLUMNS, [table]).fetchall():
        words = [type_, "not null" if not_null else "", f"default {default}" if default is not None else ""]
        yield key("column", table, name), " ".join(filter(None, [*words, _HIDDEN.get(hidden, "")])) or "no type"
        primary[position] = name
    if columns := [primary[position] for position in sorted(primary) if position]:
        yield key("constraint", table, "primary key"), f"primary key ({', '.join(columns)})"
    yield from _foreign_keys(connection, table)
    yield from _indexes(connection, table)
    for number, clause in enumerate(sorted(checks(tokens)), start=1):
        yield key("constraint", table, f"check {number}"), clause


def _foreign_keys(connection: sqlite3.Connection, table: str) -> Iterator[tuple[str, str]]:
    found: dict[tuple[int, str, str, str], list[tuple[str, str]]] = {}
    for number, other, column, other_column, on_update, on_delete in connection.execute(_FOREIGN_KEYS, [table]):
        found.setdefault((number, other, on_update, on_delete), []).append((column, other_column or ""))
    for (_, other, on_update, on_delete), pairs in found.items():
        columns, others = (", ".join(pair[side] for pair in pairs) for side in (0, 1))
        definition = (
            f"foreign key ({columns}) references {other} ({others}) on update {on_update} on delete {on_delete}"
        )
        yield key("constraint", table, f"foreign key {columns} to {other}"), definition


def _indexes(connection: sqlite3.Connection, table: str) -> Iterator[tuple[str, str]]:
    for name, unique, origin, partial in connection.execute(_INDEXES, [table]).fetchall():
        if origin == "pk":
            continue
        parts = [
            f"{column or 'expression'}{f' collate {collation}' if collation != 'BINARY' else ''}{' desc' if desc else ''}"
            for column, desc, collation in connection.execute(_INDEX_COLUMNS, [name]).fetchall()
        ]
        listed = ", ".join(parts)
        if origin == "u":  # SQLite numbers these anew whenever the table is made anew
            yield key("constraint", table, f"unique {listed}"), f"unique ({listed})"
            continue
        row = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", [name]).fetchone()
        # An expression or a condition stands nowhere but in the text.
        text = " ".join(_tokens(row[0])) if row and (partial or "expression" in parts) else ""
        yield key("index", table, name), " ".join(filter(None, ["unique" if unique else "", f"({listed})", text]))


def checks(tokens: list[str]) -> Iterator[str]:
    """The CHECK clauses in the tokens of a CREATE TABLE, in one form."""
    for start, word in enumerate(tokens):
        if word.upper() != "CHECK" or tokens[start + 1 : start + 2] != ["("]:
            continue
        depth, end = 0, start + 1
        while end < len(tokens):
            depth += {"(": 1, ")": -1}.get(tokens[end], 0)
            end += 1
            if depth == 0:
                break
        yield "check " + " ".join(tokens[start + 1 : end])


def _tokens(sql: str) -> list[str]:
    return [token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*"))]
