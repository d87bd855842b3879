"""What an ALTER does, action by action."""

from __future__ import annotations

from collections.abc import Iterator

from migrations_audit.engine.findings.splitter import Statement, Token


def name_at(statement: Statement) -> int | None:
    """Where the name of the altered TABLE, DOMAIN or TYPE begins; None for another statement."""
    words = statement.words
    if words[:1] != ("ALTER",):
        return None
    place = 2 if words[1:2] == ("FOREIGN",) else 1
    if words[place : place + 1] not in (("TABLE",), ("DOMAIN",), ("TYPE",)):
        return None
    place += 1
    while words[place : place + 1] in (("IF",), ("EXISTS",), ("ONLY",)):
        place += 1
    return place


def actions(statement: Statement) -> Iterator[tuple[Token, ...]]:
    """Each of its actions, which commas part."""
    place = name_at(statement)
    if place is None:
        return
    while statement.words[place + 1 : place + 2] == (".",):
        place += 2
    action: list[Token] = []
    for token in statement.tokens[place + 1 :]:
        if token.text == "," and token.depth == 0:
            yield tuple(action)
            action = []
        elif token.text != "*" or action:
            action.append(token)
    yield tuple(action)
