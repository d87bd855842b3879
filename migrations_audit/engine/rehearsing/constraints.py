"""What rows must be like for a change of their table to succeed: in words, and as a query that finds those that are not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from migrations_audit.engine.findings import splitter
from migrations_audit.engine.findings.splitter import LITERAL, Statement, Token

_SERIAL: Final = ("SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL2", "SERIAL4", "SERIAL8")
_TAKES_ANY: Final = ("TEXT", "VARCHAR", "CHARACTER VARYING")
"""Types to which every value can be converted, when no length is given."""
_WIDER: Final = {
    "INTEGER": ("smallint",),
    "INT": ("smallint",),
    "BIGINT": ("smallint", "integer"),
    "NUMERIC": ("smallint", "integer", "bigint", "numeric"),
    "DOUBLE PRECISION": ("smallint", "integer", "real"),
}
_LENGTH: Final = re.compile(r"(?:character varying|varchar) ?\((\d+)\)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table as PostgreSQL stores its name, without ``public``, and as it was written."""

    parts: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Need:
    """Why a statement can fail on a table with rows, and a query that tells whether there are such; empty where none is known."""

    why: str
    query: str = ""

    def __str__(self) -> str:
        if not self.query:
            return f"{self.why}."
        own = " (with the statement's own literals)" if LITERAL in self.query else ""
        return f"{self.why}. To check on the target{own}: {self.query};"


def select(what: str, table: str, *more: str) -> str:
    """A query for a person to run. Nothing here executes it."""
    return " ".join(("SELECT", what, "FROM", table, *more))


def of_action(table: Table, action: Sequence[Token], *, types: Mapping[str, str]) -> Need | None:
    """What one action of an ALTER TABLE needs, as if it said nothing of NOT VALID. ``types`` are those of its columns, as far as
    they are known, in the words of the catalog."""
    words = [token.word for token in action]
    if words[:1] == ["ALTER"]:
        return _of_column(table, action[2:] if words[1:2] == ["COLUMN"] else action[1:], types)
    if words[:1] != ["ADD"]:
        return None
    rest = action[3:] if words[1:2] == ["CONSTRAINT"] else action[1:]
    kind = tuple(token.word for token in rest[:2])
    if kind[:1] == ("UNIQUE",) or kind == ("PRIMARY", "KEY"):
        return _unique(table, rest)
    if kind[:1] == ("CHECK",):
        condition = _text(_inside(rest[1:]))
        return Need(f"fails for a row for which this is not so: {condition}", _count(table, f"NOT ({condition})"))
    if kind == ("FOREIGN", "KEY"):
        return _foreign_key(table, rest)
    if kind[:1] == ("EXCLUDE",):
        return _exclusion(table, rest)
    if words[1:2] == ["CONSTRAINT"] and kind == ("NOT", "NULL"):
        return _not_null(table, _text(rest[2:3]))
    return _new_column(table, action[2:] if words[1:2] == ["COLUMN"] else action[1:])


def unique_index(table: Table, behind: Sequence[Token]) -> Need:
    """CREATE UNIQUE INDEX, from the table's name on."""
    place = next((place for place, token in enumerate(behind) if token.text == "("), len(behind))
    words = [token.word for token in behind]
    where = _text(behind[words.index("WHERE") + 1 :]) if "WHERE" in words else ""
    return _duplicates(table, [_indexed(each) for each in _elements(behind[place:])], where=where, words=words)


def validated(table: Table, name: Token) -> Need:
    """VALIDATE CONSTRAINT of one that the plan did not add."""
    literal = name.text[1:-1] if name.text.startswith('"') else name.text.lower()
    which = f"conrelid = '{table.text}'::regclass AND conname = '{literal}'"
    query = select("pg_get_constraintdef(oid)", "pg_constraint", "WHERE", which)
    return Need("fails for a row that breaks the constraint, whose definition the target knows", query)


def _of_column(table: Table, action: Sequence[Token], types: Mapping[str, str]) -> Need | None:
    words = [token.word for token in action]
    column = _text(action[:1])
    if words[1:4] == ["SET", "NOT", "NULL"]:
        return _not_null(table, column)
    if "TYPE" not in words[1:4]:
        return None
    rest = action[words.index("TYPE") + 1 :]
    words = [token.word for token in rest]
    by = words.index("USING") if "USING" in words else len(words)
    wanted = _text(rest[: words.index("COLLATE") if "COLLATE" in words[:by] else by])
    if by == len(words) and _takes_all(types.get(".".join(splitter.name_at(action, 0)), ""), wanted):
        return None
    value = f"({_text(rest[by + 1 :])})" if by < len(words) else column
    short = rest[:1] and rest[0].word in ("VARCHAR", "CHARACTER") and "(" in words[:by]
    query = (
        _count(table, f"length({value}::text) > {_text(_inside(rest[words.index('(') :]))}")
        if short
        else select(f"count({value}::{wanted})", table.text)
    )
    return Need(f"fails for a value of {column} that {wanted} does not take, and may lose part of one", query)


def _takes_all(before: str, wanted: str) -> bool:
    """Whether every value of the type that a column had is one of the type that it gets, unchanged."""
    if wanted.upper() in _TAKES_ANY:
        return True
    if before.startswith(_WIDER.get(wanted.upper(), ("-",))):
        return True
    had, gets = _LENGTH.match(before), _LENGTH.fullmatch(wanted)
    return had is not None and gets is not None and int(had[1]) <= int(gets[1])


def _count(table: Table, condition: str = "") -> str:
    return select("count(*)", table.text, *(["WHERE", condition] if condition else []))


def _not_null(table: Table, column: str) -> Need:
    return Need(f"fails for a row whose {column} is NULL", _count(table, f"{column} IS NULL"))


def _new_column(table: Table, action: Sequence[Token]) -> Need | None:
    own = [token for token in action if not token.depth]
    words = [token.word for token in own if token.word not in ("IF", "EXISTS")]
    words = words[1:] if words[:1] == ["NOT"] else words
    pairs = set(itertools.pairwise(words))
    fills_itself = "GENERATED" in words or (words[1:2] and words[1] in _SERIAL)
    has_default = "DEFAULT" in words and ("DEFAULT", "NULL") not in pairs
    query = _count(table)
    if fills_itself:
        return None
    if not has_default:
        required = ("NOT", "NULL") in pairs or "PRIMARY" in words
        return Need("fails for any row at all, because the new column has no value in it", query) if required else None
    if "UNIQUE" in words or "PRIMARY" in words:
        return Need("fails for more than one row, because all get the same value", query)
    if "CHECK" in words or "REFERENCES" in words:
        return Need("fails for any row at all if the default breaks the column's constraint", query)
    return None


def _unique(table: Table, rest: Sequence[Token]) -> Need | None:
    words = [token.word for token in rest]
    is_key = words[:1] == ["PRIMARY"]
    place = next((place for place, token in enumerate(rest) if token.text == "("), None)
    if "INDEX" in words:
        return Need("fails for a row with a NULL in a column of the index") if is_key else None
    if place is None:
        return None
    columns = [_text(each) for each in _elements(rest[place:])]
    found = _duplicates(table, columns, where="", words=words)
    if not is_key:
        return found
    empty = " OR ".join(f"{each} IS NULL" for each in columns)
    listed = ", ".join(columns)
    query = select(f"{listed}, count(*)", table.text, "GROUP BY", listed, "HAVING count(*) > 1 OR", empty)
    return Need(f"{found.why}, and for a NULL in them", query)


def _duplicates(table: Table, values: Sequence[str], *, where: str, words: Sequence[str]) -> Need:
    """Rows that are alike in these values. One with a NULL in them is like no other, unless the statement says so."""
    listed = ", ".join(values)
    filled = [] if ("NULLS", "NOT") in itertools.pairwise(words) else [f"{each} IS NOT NULL" for each in values]
    condition = " AND ".join([f"({where})"] * bool(where) + filled)
    limited = ["WHERE", condition] if condition else []
    query = select(f"{listed}, count(*)", table.text, *limited, "GROUP BY", listed, "HAVING count(*) > 1")
    return Need(f"fails for two rows that are alike in {listed}", query)


def _foreign_key(table: Table, rest: Sequence[Token]) -> Need | None:
    words = [token.word for token in rest]
    if "REFERENCES" not in words:
        return None
    place = words.index("REFERENCES")
    columns = [_text(each) for each in _elements(rest[2:place])]
    end = place + 1
    while (
        end < len(rest)
        and (rest[end].is_name or rest[end].text == ".")
        and rest[end].word not in ("ON", "MATCH", "NOT")
    ):
        end += 1
    other = "".join(token.text for token in rest[place + 1 : end])
    theirs = [_text(each) for each in _elements(rest[end:])] if rest[end : end + 1] and rest[end].text == "(" else []
    why = f"fails for a row whose {', '.join(columns)} is not in {other}"
    if len(theirs) != len(columns):
        return Need(why)
    matches = " AND ".join(f"theirs.{their} = own.{mine}" for their, mine in zip(theirs, columns, strict=True))
    filled = " AND ".join(f"own.{each} IS NOT NULL" for each in columns)
    orphaned = f"NOT EXISTS ({select('1', other, 'theirs WHERE', matches)})"
    query = select("count(*)", table.text, "own WHERE", filled, "AND", orphaned)
    return Need(why, query)


def _exclusion(table: Table, rest: Sequence[Token]) -> Need:
    place = next((place for place, token in enumerate(rest) if token.text == "("), len(rest))
    pairs = []
    for element in _elements(rest[place:]):
        words = [token.word for token in element]
        if "WITH" not in words or words.index("WITH") != 1:
            return Need("fails for two rows that exclude each other")
        operator = "".join(token.text for token in element[2:])
        pairs.append(f"a.{element[0].text} {operator} b.{element[0].text}")
    query = select("count(*)", table.text, "a JOIN", table.text, "b ON a.ctid < b.ctid AND", " AND ".join(pairs))
    return Need("fails for two rows that exclude each other", query)


def _inside(tokens: Sequence[Token]) -> Sequence[Token]:
    """What stands between the parenthesis with which they begin and the one that closes it."""
    if not tokens or tokens[0].text != "(":
        return ()
    end = next(
        (at for at, each in enumerate(tokens) if at and each.text == ")" and each.depth == tokens[0].depth), len(tokens)
    )
    return tokens[1:end]


def _elements(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """The parts of a list in parentheses."""
    found: list[list[Token]] = [[]]
    inside = _inside(tokens)
    for token in inside:
        if token.text == "," and token.depth == inside[0].depth:
            found.append([])
        else:
            found[-1].append(token)
    return [each for each in found if each]


def _indexed(element: Sequence[Token]) -> str:
    """The value of one element of an index, without its order and operator class."""
    if element[0].text == "(":
        return f"({_text(_inside(element))})"
    if len(element) > 1 and element[1].text == "(":
        return f"{element[0].text}({_text(_inside(element[1:]))})"
    return element[0].text


def _text(tokens: Sequence[Token]) -> str:
    return Statement(tuple(tokens), 0, 0, 0).shown(10_000)
