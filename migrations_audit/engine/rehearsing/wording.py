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
_SPEAKS_OF_IT: Final = re.compile(
    r"(?:CREATE (?:OR REPLACE )?(?:CONSTRAINT )?(?:EVENT )?(?:FUNCTION|PROCEDURE|RULE|TRIGGER|POLICY)|GRANT|REVOKE"
    r"|ALTER DEFAULT PRIVILEGES)\b",
    re.IGNORECASE,
)
"""Statements in which a change is named and not made."""
_LEAVES_IT_OPEN: Final = re.compile(r"CALL\b", re.IGNORECASE)
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
        return not bodies or any(_CHANGE.search(body) for body in bodies)
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
