"""What Alembic itself writes into the SQL of a plan: the begin and end of transactions, and its version table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from migrations_audit.engine.findings import splitter
from migrations_audit.engine.findings.splitter import LITERAL, Statement

_COLUMN: Final = ("VERSION_NUM", '"version_num"', "`version_num`")


def without(sql: str, *, version_table: str) -> str:
    """The SQL without these statements and without comments, every other line where it was.

    Comments go because one of them can tell squawk to be silent.
    """
    statements = splitter.split(sql)
    spans = [
        *splitter.comments(sql),
        *((each.begin, each.end) for each in statements if is_transaction_mark(each)),
        *((each.begin, each.end) for each in of_version_table(statements, version_table=version_table)),
    ]
    return splitter.blanked(sql, _merged(spans))


def is_transaction_mark(statement: Statement) -> bool:
    """BEGIN and COMMIT, as Alembic writes them."""
    return statement.words in (("BEGIN",), ("COMMIT",))


def of_version_table(statements: Iterable[Statement], *, version_table: str) -> Iterator[Statement]:
    """The statements of exactly the shapes that Alembic writes about its version table. Others are a revision's."""
    left = [each for each in statements if not is_transaction_mark(each)]
    for statement in left:
        words = _without_schema(statement, version_table)
        if words is None:
            continue
        made = words[:4] == ["CREATE", "TABLE", "", "("] and words[4:5] and words[4] in _COLUMN
        inserted = words[:5] == ["INSERT", "INTO", "", "(", *words[4:5]] and words[5:8] == [")", "VALUES", "("]
        changed = words[:2] == ["UPDATE", ""] and words[4:6] == ["=", LITERAL] and _is_one_row(words[6:])
        removed = words[:3] == ["DELETE", "FROM", ""] and _is_one_row(words[3:])
        dropped = words == ["DROP", "TABLE", ""] and statement is left[-1]
        if made or (inserted and words[4] in _COLUMN) or changed or removed or dropped:
            yield statement


def _is_one_row(words: list[str]) -> bool:
    """``WHERE version_num = '…'``, whatever is returned; the column may be told with its table."""
    if words[:1] != ["WHERE"]:
        return False
    rest = words[1:]
    while len(rest) > 2 and rest[1] == ".":
        rest = rest[2:]
    return bool(rest) and rest[0] in _COLUMN and rest[1:3] == ["=", LITERAL] and rest[3:4] in ([], ["RETURNING"])


def _without_schema(statement: Statement, version_table: str) -> list[str] | None:
    """The words with an empty one for the version table; None when it is not named near the beginning."""
    tokens = list(statement.tokens[:5])
    for place, token in enumerate(tokens):
        name = token.text.strip('"`') if token.word[:1] in '"`' else token.text.lower()
        if name == version_table and place and token.is_name:
            has_schema = place >= 2 and statement.tokens[place - 1].text == "."
            return [*statement.words[: place - 2 if has_schema else place], "", *statement.words[place + 1 :]]
    return None


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The spans in order, without overlaps: a comment may stand within a statement."""
    reached = 0
    for begin, end in sorted(spans):
        if end > reached:
            yield max(begin, reached), end
            reached = end
