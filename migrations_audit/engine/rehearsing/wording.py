"""What a statement does, by its words: whether it changes rows, empties a table, or works CONCURRENTLY.

The copy has no rows, so that only the words tell. Where they leave it open, as with CALL, it counts as a change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Matched together, so that a mark inside one of them opens none of the others.
_PIECES: Final = re.compile(
    r"""(?sx)
      (?P<comment> --[^\r\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<name> "(?:[^"]|"")*" )
    | (?P<literal> \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' )
    | (?P<tag> \$(?:[^\W\d]\w*)?\$ ) (?P<body> .*? ) (?P=tag)
    """
)
_SPACE: Final = "\x1a"
"""Stands for a space in a quoted name, in which no words are looked for."""
_NAME: Final = r'(?:"(?:[^"]|"")*"|[\w$]+)'
_QUALIFIED: Final = rf"(?:{_NAME} ?\. ?)?({_NAME})"
_CHANGE: Final = re.compile(
    r"\b(?:INSERT INTO|DELETE FROM(?: ONLY)?|MERGE INTO(?: ONLY)?"
    rf"|(?<!FOR )(?<!KEY )(?<!ON )(?<!DO )UPDATE(?: ONLY)?) {_QUALIFIED}"
    rf"|^TRUNCATE(?: TABLE)?(?: ONLY)? {_QUALIFIED}|^COPY {_QUALIFIED}.* FROM\b",
    re.IGNORECASE,
)
_IN_BLOCK: Final = re.compile(
    r"\b(?:DELETE FROM|INSERT INTO|MERGE INTO|TRUNCATE|(?<!FOR )(?<!KEY )(?<!ON )(?<!DO )UPDATE)\b", re.IGNORECASE
)
"""A block may put the name behind it together."""
_SPEAKS_OF_IT: Final = re.compile(
    r"(?:CREATE (?:OR REPLACE )?(?:CONSTRAINT )?(?:EVENT )?(?:FUNCTION|PROCEDURE|RULE|TRIGGER|POLICY)|GRANT|REVOKE"
    r"|ALTER DEFAULT PRIVILEGES)\b",
    re.IGNORECASE,
)
"""Statements in which a change is named and not made."""
_LEAVES_IT_OPEN: Final = re.compile(r"CALL\b", re.IGNORECASE)
_NOT_COMPARED: Final = re.compile(
    r"(?:GRANT|REVOKE|COMMENT ON|SECURITY LABEL|ALTER (?:DEFAULT PRIVILEGES|ROLE|USER|GROUP|DATABASE|SYSTEM)"
    r"|(?:CREATE|DROP) (?:ROLE|USER|GROUP)|ALTER SEQUENCE .*\bRESTART|SELECT .*\bSETVAL)\b",
    re.IGNORECASE,
)
"""What leaves no trace in the catalog as it is compared."""
_DROPS_TABLES: Final = re.compile(r"DROP (?:FOREIGN )?TABLE (?:IF EXISTS )?(.+)", re.IGNORECASE)
_DROPS_COLUMN: Final = re.compile(rf"\bDROP (?!CONSTRAINT\b)(?:COLUMN )?(?:IF EXISTS )?({_NAME})", re.IGNORECASE)
_ALTERS: Final = re.compile(
    rf"ALTER (?:(?:FOREIGN )?TABLE|MATERIALIZED VIEW) (?:IF EXISTS )?(?:ONLY )?{_QUALIFIED} (?P<does>.*)", re.IGNORECASE
)
_RENAMES: Final = re.compile(
    rf"RENAME (?:COLUMN )?(?!TO\b|CONSTRAINT\b)({_NAME}) TO ({_NAME})|RENAME TO ({_NAME})|SET SCHEMA\b", re.IGNORECASE
)
_CONCURRENTLY: Final = re.compile(
    r"(?:CREATE (?:UNIQUE )?|DROP |RE)INDEX (?:\([^)]*\) ?)?(?:TABLE |INDEX )?CONCURRENTLY\b"
    r"|REFRESH MATERIALIZED VIEW CONCURRENTLY\b|ALTER TABLE .* DETACH PARTITION .* CONCURRENTLY\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Part:
    """One statement: its words with one space between them, and what stands in dollar quotes."""

    words: str
    bodies: tuple[str, ...]


def writes_data(text: str, *, besides: str = "") -> bool:
    """Whether some statement of ``text`` changes rows of another table than ``besides``."""
    return any(_changes(part, besides) for part in _parts(text))


def leaves_no_trace(text: str) -> bool:
    """Whether some statement of ``text`` does something that the catalog, as it is compared, does not show."""
    return any(_NOT_COMPARED.match(part.words) for part in _parts(text))


def converts(text: str) -> bool:
    """Whether some statement of ``text`` gives a column a type by an expression of its own."""
    return any(
        _ALTERS.match(part.words) and re.search(r"\bUSING\b", part.words, re.IGNORECASE) for part in _parts(text)
    )


def dropped(text: str) -> set[tuple[str, ...]]:
    """The tables and columns that ``text`` names as dropped, as (table,) and (table, column), without their schemas."""
    found: set[tuple[str, ...]] = set()
    for part in _parts(text):
        if tables := _DROPS_TABLES.match(part.words):
            listed = re.sub(r" (?:CASCADE|RESTRICT)$", "", tables[1], flags=re.IGNORECASE)
            found |= {(_stored(re.findall(_NAME, each)[-1]),) for each in listed.split(",") if re.search(_NAME, each)}
        if alters := _ALTERS.match(part.words):
            found |= {(_stored(alters[1]), _stored(name)) for name in _DROPS_COLUMN.findall(alters["does"])}
    return found


def renamed(text: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The tables and columns that ``text`` gives another name or schema, in a DO block too: the old name and the new one, as
    ``dropped`` tells them. A column's new name stands with the table's old one."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for part in _parts(text):
        blocks = part.bodies if re.match(r"DO\b", part.words, re.IGNORECASE) else ()
        inner = (" ".join(each.split()) for body in blocks for each in body.split(";"))
        for alters in filter(None, [_ALTERS.match(part.words), *map(_ALTERS.search, inner)]):
            table = _stored(alters[1])
            for column, new_column, new_table in _RENAMES.findall(alters["does"]):
                if column:
                    found[table, _stored(column)] = (table, _stored(new_column))
                else:
                    found[table,] = (_stored(new_table) if new_table else table,)
    return found


def empties(text: str) -> bool:
    """Whether some statement of ``text`` is a TRUNCATE."""
    return any(re.match(r"TRUNCATE\b", part.words, re.IGNORECASE) for part in _parts(text))


def works_concurrently(text: str) -> bool:
    """Whether some statement of ``text`` goes on beside reads and writes by saying CONCURRENTLY."""
    return any(_CONCURRENTLY.match(part.words) for part in _parts(text))


def _changes(part: _Part, besides: str) -> bool:
    if _SPEAKS_OF_IT.match(part.words):
        return False
    if re.match(r"DO\b", part.words, re.IGNORECASE):
        bodies = [" ".join(body.split()) for body in part.bodies]
        # What a block executes may stand in its literals; one without a dollar quote is a literal as a whole.
        return not bodies or any(_CHANGE.search(body) or _IN_BLOCK.search(body) for body in bodies)
    if _LEAVES_IT_OPEN.match(part.words):
        return True
    names = [next(filter(None, found.groups())) for found in _CHANGE.finditer(part.words)]
    return any(_stored(name) != besides for name in names)


def _parts(text: str) -> list[_Part]:
    bodies: list[str] = []

    def plain(found: re.Match[str]) -> str:
        if found["name"]:
            return found["name"].replace(";", "_").replace(" ", _SPACE)
        if found["tag"]:
            bodies.append(found["body"])
            return f" $BODY{len(bodies) - 1}$ "
        return " '' " if found["literal"] else " "

    cut = [" ".join(part.split()) for part in _PIECES.sub(plain, text).split(";")]
    return [
        _Part(words, tuple(bodies[int(number)] for number in re.findall(r"\$BODY(\d{1,6})\$", words)))
        for words in cut
        if words
    ]


def _stored(name: str) -> str:
    return name[1:-1].replace('""', '"').replace(_SPACE, " ") if name.startswith('"') else name.lower()
