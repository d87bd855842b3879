"""The tables that SQL names, by its words. Whether they are tables, and in which schema, the target says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from migrations_audit.engine.findings import splitter
from migrations_audit.engine.findings.splitter import Statement, Token

MOST: Final = 500
LONGEST_SQL: Final = 1_000_000
"""Names that are told, and characters that are read for them: the rest of a larger plan is left out."""

Name = tuple[str, str]
"""A schema, or nothing, and what may be a table, a view or an index, as PostgreSQL stores them."""

_BEFORE: Final = frozenset(
    {
        *("TABLE", "INDEX", "VIEW", "ON", "INTO", "UPDATE", "FROM", "JOIN", "USING", "REFERENCES"),
        *("TRUNCATE", "LOCK", "COPY", "CLUSTER", "VACUUM", "ANALYZE"),
    }
)
_BETWEEN: Final = frozenset({"IF", "NOT", "EXISTS", "ONLY", "TABLE", "CONCURRENTLY", "FULL", "VERBOSE"})


def tables(texts: Iterable[str]) -> list[Name]:
    """What may be a table in the SQL of ``texts``, in its order, each once; what DO blocks say plainly included."""
    found: dict[Name, None] = {}
    left = LONGEST_SQL
    for text in texts:
        for statement in splitter.split(text[:left]):
            for name in _of_statement(statement):
                found[name] = None
                if len(found) == MOST:
                    return list(found)
        left -= len(text)
        if left <= 0:
            break
    return list(found)


def _of_statement(statement: Statement) -> Iterator[Name]:
    yield from _of_tokens(statement.tokens)
    for token in statement.tokens:
        for inner in splitter.split(splitter.body_of(token)):
            yield from _of_tokens(inner.tokens)


def _of_tokens(tokens: tuple[Token, ...]) -> Iterator[Name]:
    for place, token in enumerate(tokens):
        if token.word not in _BEFORE:
            continue
        at = place + 1
        while at < len(tokens) and tokens[at].word in _BETWEEN:
            at += 1
        while parts := splitter.name_at(tokens, at):
            yield ("", parts[0]) if len(parts) == 1 else (parts[-2], parts[-1])
            at += 2 * len(parts) - 1
            if at >= len(tokens) or tokens[at].text != ",":
                break
            at += 1
