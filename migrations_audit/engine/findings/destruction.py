"""Rules about one statement each: the codes that it breaks, from its words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from migrations_audit.engine.findings import alterations, splitter
from migrations_audit.engine.findings.splitter import Statement, Token

MOST_PARTS: Final = 100
"""How many DELETEs and UPDATEs within one statement are looked at."""

_OBJECTS: Final = frozenset(
    {
        "VIEW",
        "MATERIALIZED",
        "TYPE",
        "FUNCTION",
        "PROCEDURE",
        "AGGREGATE",
        "ROUTINE",
        "SEQUENCE",
        "EXTENSION",
        "TRIGGER",
    }
    | {"POLICY", "DOMAIN", "RULE", "SERVER", "FOREIGN", "EVENT", "PUBLICATION", "SUBSCRIPTION", "OPERATOR", "COLLATION"}
    | {"CAST", "LANGUAGE", "ROLE", "USER", "STATISTICS", "CONVERSION", "TEXT", "TRANSFORM", "ACCESS"}
)
_BEGINS_A_STATEMENT: Final = frozenset({"", "(", ")"})
_DEFINED: Final = ("FUNCTION", "PROCEDURE", "RULE")
"""What stands in their bodies is kept and not executed."""
_REWRITES: Final = (("SET", "UNLOGGED"), ("SET", "LOGGED"), ("SET", "TABLESPACE"), ("SET", "ACCESS"))
_PARTS: Final = frozenset({"CONSTRAINT", "FOREIGN", "PRIMARY", "CHECK", "INDEX", "KEY"})
"""What ALTER TABLE … DROP drops that is no column."""
_ALWAYS_TRUE: Final = (["TRUE"], ["1", "=", "1"], ["1"])


def drops(statement: Statement) -> Iterator[str]:
    """DROP at the beginning."""
    words = statement.words
    if words[:1] != ("DROP",) or len(words) < 2:
        return
    kind = words[2] if words[1] in ("TEMPORARY", "FOREIGN") and len(words) > 2 else words[1]
    if kind == "TABLE":
        yield "drop_table"
    elif kind in ("SCHEMA", "DATABASE", "TABLESPACE"):
        yield "drop_schema"
    elif kind == "OWNED":
        yield "drop_owned"
    elif words[1] in _OBJECTS:
        yield "drop_object"


def drops_within_an_alter(statement: Statement) -> Iterator[str]:
    """DROP as an action of ALTER: a column, an attribute or a constraint. The word COLUMN may be left out."""
    for action in _actions(statement):
        after = next((word for word in action[1:] if word not in ("IF", "EXISTS")), "")
        if action[:1] != ("DROP",):
            continue
        if after in _PARTS:
            yield "drop_object"
        elif "TABLE" in statement.words[1:3] or after == "ATTRIBUTE":
            yield "drop_column" if after != "PARTITION" else "drop_table"


def _actions(statement: Statement) -> Iterator[tuple[str, ...]]:
    """The words of each action of an ALTER TABLE, DOMAIN or TYPE."""
    return (tuple(token.word for token in action) for action in alterations.actions(statement))


def cascades(statement: Statement) -> Iterator[str]:
    """CASCADE of a DROP or TRUNCATE; that of a foreign key's ON DELETE is another."""
    words = statement.words
    whole = words[:1] in (("DROP",), ("TRUNCATE",)) and words[-1:] == ("CASCADE",)
    if whole or any(action[:1] == ("DROP",) and action[-1:] == ("CASCADE",) for action in _actions(statement)):
        yield "drop_cascade"


def truncates(statement: Statement) -> Iterator[str]:
    """TRUNCATE."""
    if statement.starts("TRUNCATE"):
        yield "truncate"


def changes_every_row(statement: Statement) -> Iterator[str]:
    """DELETE and UPDATE without a WHERE, or with one that is always true; also within WITH."""
    tokens = statement.tokens
    if statement.starts("CREATE") and any(word in _DEFINED for word in statement.words[1:4]):
        return
    candidates = [
        place
        for place, token in enumerate(tokens)
        if token.word in ("DELETE", "UPDATE") and (tokens[place - 1].word if place else "") in _BEGINS_A_STATEMENT
    ]
    for place in candidates[:MOST_PARTS]:
        own = list(_own_words(tokens[place:], tokens[place].depth))
        if own[:2] == ["DELETE", "FROM"] and not _limits(own):
            yield "delete_without_where"
        if own[0] == "UPDATE" and "SET" in own and not _limits(own):
            yield "update_without_where"
    if len(candidates) > MOST_PARTS:
        yield "lint_could_not_run"


def merges_away(statement: Statement) -> Iterator[str]:
    """MERGE … THEN DELETE."""
    words = statement.words
    if words[:1] in (("MERGE",), ("WITH",)) and "MERGE" in words and ("THEN", "DELETE") in itertools.pairwise(words):
        yield "merge_deletes"


def _own_words(tokens: Sequence[Token], depth: int) -> Iterator[str]:
    """The words up to the semicolon, or the parenthesis around it, that ends this part; those within inner ones left out."""
    for token in tokens:
        if token.depth < depth or (token.depth == depth and token.text == ";"):
            return
        if token.depth == depth:
            yield token.word


def _limits(words: Sequence[str]) -> bool:
    """Whether there is a WHERE that leaves anything out."""
    if "WHERE" not in words:
        return False
    place = list(words).index("WHERE") + 1
    condition = list(words[place:])
    if "RETURNING" in condition:
        condition = condition[: condition.index("RETURNING")]
    return condition not in _ALWAYS_TRUE


def removes_protection(statement: Statement) -> Iterator[str]:
    """Row level security switched off, and rights for everybody."""
    words = statement.words
    text = " ".join(words)
    if words[:2] == ("ALTER", "TABLE") and (
        "DISABLE ROW LEVEL SECURITY" in text or "NO FORCE ROW LEVEL SECURITY" in text
    ):
        yield "protection_removed"
    grants = words[:1] == ("GRANT",) or (words[:3] == ("ALTER", "DEFAULT", "PRIVILEGES") and "GRANT" in words)
    if grants and "TO" in words and "PUBLIC" in words[words.index("TO") :]:
        yield "protection_removed"


def rewrites_or_locks(statement: Statement) -> Iterator[str]:
    """VACUUM FULL, CLUSTER and some settings write a table anew; LOCK locks it by name."""
    words = statement.words
    if words[:2] == ("ALTER", "TABLE") or words[:3] == ("ALTER", "MATERIALIZED", "VIEW"):
        top = [token.word for token in statement.tokens if not token.depth]
        if any(pair in _REWRITES for pair in itertools.pairwise(top)):
            yield "rewrites_table"
    if words[:1] == ("CLUSTER",) or (words[:1] == ("VACUUM",) and "FULL" in words):
        yield "rewrites_table"
    if words[:1] == ("LOCK",):
        yield "explicit_lock"


def created_table(statement: Statement) -> str:
    """The name of the table that the statement creates, as PostgreSQL stores it; empty for others."""
    words = statement.words
    if words[:1] != ("CREATE",) or "TABLE" not in words[1:4]:
        return ""
    place = words.index("TABLE") + 1
    if words[place : place + 3] == ("IF", "NOT", "EXISTS"):
        place += 3
    return ".".join(splitter.name_at(statement.tokens, place))


def referenced_tables(statement: Statement) -> Iterator[str]:
    """The names behind REFERENCES."""
    for place, word in enumerate(statement.words):
        if word == "REFERENCES":
            yield ".".join(splitter.name_at(statement.tokens, place + 1))
