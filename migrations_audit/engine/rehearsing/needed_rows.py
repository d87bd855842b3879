"""Which statements rest on rows that an empty copy lacks: what rows would make them fail, and a query that finds such."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from migrations_audit.engine import catalog
from migrations_audit.engine.findings import alterations, destruction, splitter
from migrations_audit.engine.findings.splitter import Statement, Token
from migrations_audit.engine.rehearsing import constraints
from migrations_audit.engine.rehearsing.constraints import Need, Table

_READS: Final = frozenset({"WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "SELECT", "CREATE"})
_NO_TABLE_BEHIND: Final = frozenset({"DISTINCT", "FOR", "KEY", "DO", "ON"})
"""``IS DISTINCT FROM x``, ``FOR UPDATE``, ``ON CONFLICT DO UPDATE``: the word behind is no table."""
_OF_THE_SYSTEM: Final = ("pg_catalog", "information_schema")
_HOLD_ROWS: Final = ("table ", "foreign table ", "materialized view ", "view ")

Name = tuple[str, ...]


class Needed:
    """Told the statements of a plan in their order. ``before`` is the catalog before the first; tables that the plan makes are
    empty on the target too, unless it fills them from others."""

    def __init__(self, before: Mapping[str, str], *, version_table: str) -> None:
        found = [catalog.names(key.removeprefix(kind)) for key in before for kind in _HOLD_ROWS if key.startswith(kind)]
        self._known: set[Name] = {name for names in found for name in (_plain(names), names[-1:])}
        self._made: set[Name] = set()
        self._filled: set[Name] = set()
        self._before = before
        self._version_table = version_table
        self._not_valid: dict[tuple[Name, str], Need] = {}

    def of(self, statement: Statement) -> list[Need]:
        """What the statement needs of the rows, table by table."""
        if (made := destruction.created_table(statement)) and "EXISTS" not in statement.words[:6]:
            self._made.add(_plain(tuple(made.split("."))))
        return [*self._of_structure(statement), *self._of_reading(statement)]

    def _of_structure(self, statement: Statement) -> Iterator[Need]:
        place = alterations.name_at(statement)
        if place is not None and "TABLE" in statement.words[1:3]:
            table = _table(statement.tokens, place)
            for action in alterations.actions(statement) if self._holds(table.parts) else ():
                yield from self._of_action(table, action)
        elif statement.starts("CREATE", "UNIQUE", "INDEX") and "ON" in statement.words:
            place = statement.words.index("ON") + 1
            place += statement.words[place : place + 1] == ("ONLY",)
            table = _table(statement.tokens, place)
            if self._holds(table.parts):
                yield constraints.unique_index(table, statement.tokens[place:])

    def _of_action(self, table: Table, action: Sequence[Token]) -> Iterator[Need]:
        words = [token.word for token in action]
        if words[:2] == ["VALIDATE", "CONSTRAINT"] and len(action) > 2:
            yield self._not_valid.get((table.parts, action[2].text)) or constraints.validated(table, action[2])
            return
        need = constraints.of_action(table, action, types=self._types(table.parts))
        if need is not None and ("NOT", "VALID") in itertools.pairwise(words):
            self._not_valid[table.parts, action[2].text] = need
        elif need is not None:
            yield need

    def _of_reading(self, statement: Statement) -> Iterator[Need]:
        """Statements that read or change rows, in a DO block too."""
        words = statement.words
        bodies = [inner for token in statement.tokens for inner in splitter.split(splitter.body_of(token))]
        if words[:1] == ("DO",):
            used = [name for inner in bodies for name in _used(inner.tokens)]
            what = "its block goes through rows of {table} or changes them"
        elif words[0] in _READS and (words[0] != "CREATE" or _is_table_from_rows(statement)):
            used, what = list(_used(statement.tokens)), "it reads rows of {table} or changes them"
        else:
            return
        held = list({each.parts: each for each in used if self._holds(each.parts)}.values())
        if held and words[:2] == ("INSERT", "INTO"):
            self._filled.add(_table(statement.tokens, 2).parts)
        if held and (made := destruction.created_table(statement)):
            self._filled.add(_plain(tuple(made.split("."))))
        for table in held:
            query = constraints.select("count(*)", table.text)
            yield Need(f"{what.format(table=table.text)}, and none of them was on the copy", query)

    def _holds(self, name: Name) -> bool:
        """Whether there may be rows in it on the target."""
        if not name or name[-1] == self._version_table or name[0] in _OF_THE_SYSTEM or name[-1].startswith("pg_"):
            return False
        return name in self._filled or (name in self._known if self._known else name not in self._made)

    def _types(self, table: Name) -> Mapping[str, str]:
        """What was known of the table's columns before the plan."""
        found = {}
        for key, told in self._before.items():
            names = catalog.names(key.removeprefix("column ")) if key.startswith("column ") else ()
            if table in (names[:-1], _plain(names[:-1]), names[-2:-1]):
                found[names[-1]] = told
        return found


def _plain(name: Name) -> Name:
    return name[1:] if name[:1] == ("public",) and len(name) > 1 else name


def _table(tokens: Sequence[Token], place: int) -> Table:
    name = splitter.name_at(tokens, place)
    shown = "".join(token.text for token in tokens[place : _end(tokens, place)])
    return Table(_plain(name), shown)


def _end(tokens: Sequence[Token], place: int) -> int:
    """Behind the name that begins there."""
    return place + max(2 * len(splitter.name_at(tokens, place)) - 1, 0)


def _is_table_from_rows(statement: Statement) -> bool:
    return bool(destruction.created_table(statement)) and "AS" in [
        each.word for each in statement.tokens if not each.depth
    ]


def _used(tokens: Sequence[Token]) -> Iterator[Table]:
    """The names at which rows are read or changed; functions in FROM are none."""
    merges = bool(tokens) and tokens[0].word == "MERGE"
    for place, token in enumerate(tokens):
        before = tokens[place - 1].word if place else ""
        opens = token.word in ("FROM", "JOIN", "UPDATE") or (token.word in ("USING", "INTO") and merges)
        if not opens or before in _NO_TABLE_BEHIND:
            continue
        at = place + 1
        while True:
            at += at < len(tokens) and tokens[at].word == "ONLY"
            table = _table(tokens, at)
            end = _end(tokens, at)
            follows = tokens[end].text if end < len(tokens) else ""
            if table.text and follows != "(":
                yield table
            at = _behind_comma(tokens, end)
            if not table.text or not at:
                break


def _behind_comma(tokens: Sequence[Token], place: int) -> int:
    """Where the next name of a list begins, behind an alias; 0 where the list ends."""
    for at in range(place, min(place + 3, len(tokens))):
        if tokens[at].text == ",":
            return at + 1
        if not (tokens[at].word == "AS" or tokens[at].is_name):
            return 0
    return 0
