"""What squawk does not look for: statements that destroy, that lock another table, and that cannot run where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from migrations_audit.engine.findings import alembics_own, destruction, finding, places, rules, splitter
from migrations_audit.engine.findings.finding import Finding
from migrations_audit.engine.findings.splitter import Statement
from migrations_audit.states import Engine

LONGEST_SQL: Final = 1_000_000

_OUTSIDE_ONLY: Final = (
    ("VACUUM",),
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
    ("ALTER", "SYSTEM"),
    ("REINDEX", "DATABASE"),
    ("REINDEX", "SYSTEM"),
    ("REINDEX", "SCHEMA"),
)
_HAS_CONCURRENTLY: Final = (
    ("CREATE", "INDEX"),
    ("CREATE", "UNIQUE"),
    ("DROP", "INDEX"),
    ("REINDEX",),
    ("ALTER", "TABLE"),
)
_OPENS: Final = (("BEGIN",), ("START", "TRANSACTION"))
_ENDS: Final = (("COMMIT",), ("END",))
_GIVES_UP: Final = (("ROLLBACK",), ("ABORT",))
MOST_CUTS: Final = 100
"""At how many words of one statement in a DO block another may begin."""
_IN_BODY: Final = ("BEGIN", "THEN", "ELSE", "LOOP", "DECLARE")


def of_sql(
    sql: str,
    *,
    place: places.Place,
    in_transaction: bool,
    engine: Engine = Engine.POSTGRESQL,
    version_table: str = "alembic_version",
) -> tuple[Finding, ...]:
    """The findings in ``sql``, in its order. ``in_transaction``: whether one is open where it begins.

    SQL that is too long to be read is one finding that says so.
    """
    if len(sql) > LONGEST_SQL:
        sentence = f"The SQL is longer than {LONGEST_SQL:,} characters and was not read for what it destroys."
        return (finding.of("lint_could_not_run", places.WHOLE, sentence),)
    statements = splitter.split(sql, engine=engine)
    own = set(map(id, alembics_own.of_version_table(statements, version_table=version_table)))
    told = [each for each in statements if id(each) not in own]
    found = [*_of_each(told, place)]
    if engine is Engine.POSTGRESQL:
        found += [*_of_transactions(told, place, in_transaction=in_transaction), *_of_references(told, place)]
    return tuple(found)


def _of_each(statements: Sequence[Statement], place: places.Place) -> Iterator[Finding]:
    for statement in statements:
        for code in _codes_of(statement):
            yield _found(code, statement, place)


def _codes_of(statement: Statement) -> Iterator[str]:
    """The rules that a statement breaks, what a DO block says plainly included."""
    codes = dict.fromkeys(code for rule in _RULES for code in rule(statement))
    if statement.starts("DO"):
        yield "do_block"
        codes = dict.fromkeys(code for inner in _inside(statement) for rule in _RULES for code in rule(inner))
        if any(len(_cuts(inner)) > MOST_CUTS for token in statement.tokens for inner in _body(token)):
            yield "lint_could_not_run"
    yield from codes


def _inside(statement: Statement) -> Iterator[Statement]:
    """The statements written plainly in a DO block, with and without the words of PL/pgSQL that may stand before them.

    Which of these words begins a statement is not asked: CASE has a THEN and an ELSE as well.
    """
    for token in statement.tokens:
        for inner in _body(token):
            for cut in _cuts(inner)[:MOST_CUTS]:
                yield Statement(inner.tokens[cut:], inner.line, inner.begin, inner.end)


def _body(token: splitter.Token) -> tuple[Statement, ...]:
    return splitter.split(splitter.body_of(token))


def _cuts(statement: Statement) -> list[int]:
    """Where a statement within it may begin."""
    behind = (place + 1 for place, word in enumerate(statement.words) if word in _IN_BODY)
    return [place for place in (0, *behind) if place < len(statement.tokens)]


def _of_transactions(
    statements: Sequence[Statement], place: places.Place, *, in_transaction: bool
) -> Iterator[Finding]:
    is_open = in_transaction
    for statement in statements:
        if any(statement.starts(*words) for words in _OPENS):
            if is_open:
                yield _found("nested_transaction", statement, place)
            is_open = True
        elif any(statement.starts(*words) for words in _ENDS):
            if not is_open:
                yield _found("nested_transaction", statement, place)
            is_open = False
        elif any(statement.starts(*words) for words in _GIVES_UP) and "TO" not in statement.words:
            yield _found("nested_transaction", statement, place)
            is_open = False
        elif is_open and _must_be_outside(statement):
            yield _found("not_in_transaction", statement, place)


def _must_be_outside(statement: Statement) -> bool:
    if any(statement.starts(*words) for words in _OUTSIDE_ONLY):
        return True
    return "CONCURRENTLY" in statement.words and any(statement.starts(*words) for words in _HAS_CONCURRENTLY)


def _of_references(statements: Sequence[Statement], place: places.Place) -> Iterator[Finding]:
    """CREATE TABLE … REFERENCES, for tables that were there before. Those that the SQL itself makes are empty and unused."""
    made: set[str] = set()
    for statement in statements:
        name = destruction.created_table(statement)
        if not name:
            continue
        if "EXISTS" not in statement.words[:6]:  # with IF NOT EXISTS it may have been there before
            made.add(name)
        others = [each for each in destruction.referenced_tables(statement) if each not in made | {name}]
        if others:
            tables = ", ".join(dict.fromkeys(others))
            lock = f"making {name} takes SHARE ROW EXCLUSIVE on {tables}, whose writes wait until the commit."
            sentence = f"{statement.shown(60)}: {lock}"
            yield finding.of("references_lock", places.at(place, statement.line), sentence)


def _found(code: str, statement: Statement, place: places.Place) -> Finding:
    sentence = f"{statement.shown()}: {rules.BY_CODE[code].meaning}"
    return finding.of(code, places.at(place, statement.line), sentence)


_RULES: Final[tuple[Callable[[Statement], Iterator[str]], ...]] = (
    destruction.drops,
    destruction.drops_within_an_alter,
    destruction.cascades,
    destruction.truncates,
    destruction.changes_every_row,
    destruction.merges_away,
    destruction.removes_protection,
    destruction.rewrites_or_locks,
)
