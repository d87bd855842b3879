"""SQL cut into statements and words as the server would: quotes, dollar quotes, nested comments, bodies with semicolons.

It never fails: text that does not end as it should is one statement to its end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from migrations_audit.states import Engine

LITERAL: Final = "'…'"
"""What stands in the place of a literal in ``Token.word`` and in what is shown: a literal may hold anything, a password too."""

_WORD: Final = re.compile(r"[^\W\d][\w$]*")
_NUMBER: Final = re.compile(r"\d[\w.]*")
_DOLLAR: Final = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_SPACE: Final = re.compile(r"\s+")
_NEWLINE: Final = re.compile(r"\n")
_NEWLINES: Final = re.compile(r"\\[nrt]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_LINE_END: Final = re.compile(r"[\r\n]")
_PREFIXES: Final = ("E", "B", "X", "N", "U&")
_EXECUTED_COMMENT: Final = re.compile(r"/\*M?!\d*")
_PAIRS: Final = re.compile(r"::|:=|<=|>=|<>|!=|\|\|")


@dataclass(frozen=True)
class Token:
    """One word, name, literal or sign, between so many open parentheses.

    ``word`` is in capitals for a bare word; a quoted name keeps its quotes and its case, and a literal is only a mark.
    """

    word: str
    text: str
    begin: int
    depth: int

    @property
    def is_name(self) -> bool:
        return self.word[:1].isalpha() or self.word[:1] in ('"', "`", "_")


@dataclass(frozen=True)
class Statement:
    """``line`` is that of the first word, from 1; ``begin`` and ``end`` are offsets into the SQL, the semicolon included."""

    tokens: tuple[Token, ...]
    line: int
    begin: int
    end: int

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(token.word for token in self.tokens)

    def starts(self, *words: str) -> bool:
        """Whether it begins with these words."""
        return self.words[: len(words)] == words

    def shown(self, longest: int = 120) -> str:
        """The statement on one line, without comments, with a mark for each literal and a digest of one that may hold statements.

        A longer one is cut and ends with the first signs of its digest, so that no two that differ are shown alike.
        """
        pieces = []
        for before, token in zip((None, *self.tokens), self.tokens, strict=False):
            touches = before is not None and (before.text in ("(", ".", "::") or token.text in (")", ",", ".", "::"))
            pieces.append(("" if before is None or touches else " ") + _shown(token))
        whole = "".join(pieces)
        if len(whole) <= longest:
            return whole
        return f"{whole[: longest - 1]}… ({_digest(whole)})"


def _shown(token: Token) -> str:
    """What stands in dollar quotes, or in a DO block, may be whole statements: no two of them may be shown alike."""
    if token.word != LITERAL:
        return token.text
    return LITERAL if token.text == LITERAL else f"{LITERAL} ({_digest(token.text)})"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def split(sql: str, *, engine: Engine = Engine.POSTGRESQL) -> tuple[Statement, ...]:
    """The statements of ``sql`` that hold any word."""
    statements = []
    tokens: list[Token] = []
    body = _Body()
    line, counted_to = 1, 0
    for token in (*_tokens(sql, engine), None):
        if token is not None and (token.text != ";" or body.holds(token)):
            is_block = bool(tokens) and tokens[0].word == "DO"
            tokens.append(token if is_block or token.text[:1] == "$" else _masked(token))
            body.take(token)
            continue
        if tokens:
            begin = tokens[0].begin
            line += sql.count("\n", counted_to, begin)
            counted_to = begin
            end = len(sql) if token is None else token.begin + 1
            statements.append(Statement(tuple(tokens), line, begin, end))
        tokens, body = [], _Body()
    return tuple(statements)


def comments(sql: str, *, engine: Engine = Engine.POSTGRESQL) -> Iterator[tuple[int, int]]:
    """Where comments begin and end."""
    for kind, begin, end in _pieces(sql, engine):
        if kind == "comment":
            yield begin, end


def blanked(sql: str, spans: Iterable[tuple[int, int]]) -> str:
    """The same text with blanks in the place of these spans, given in order, so that lines stay where they are."""
    pieces, shown_to = [], 0
    for begin, end in spans:
        pieces += [sql[shown_to:begin], re.sub(r"[^\n]", " ", sql[begin:end])]
        shown_to = end
    return "".join([*pieces, sql[shown_to:]])


def body_of(token: Token) -> str:
    """What stands between the dollar quotes of a literal, or the plain ones of a DO block; empty for another token."""
    found = _DOLLAR.match(token.text)
    if found:
        return token.text[found.end() : -len(found[0])] if len(token.text) >= 2 * len(found[0]) else ""
    prefix, _, quoted = token.text.partition("'")
    if token.word != LITERAL or token.text == LITERAL or not quoted:
        return ""
    plain = quoted.removesuffix("'").replace("''", "'")
    return _ESCAPED.sub(r"\1", _NEWLINES.sub("\n", plain)) if prefix.upper() == "E" else plain


def _masked(token: Token) -> Token:
    """A literal by its mark alone: what stands in it may be a secret."""
    return replace(token, text=LITERAL) if token.word == LITERAL else token


def name_at(tokens: Sequence[Token], place: int) -> tuple[str, ...]:
    """The name that begins there as PostgreSQL stores it, with its schema if it has one; empty where none begins."""
    parts = []
    while place < len(tokens) and tokens[place].is_name:
        text = tokens[place].text
        parts.append(text[1:-1].replace('""', '"') if text[:1] == '"' else text.lower())
        if place + 1 >= len(tokens) or tokens[place + 1].text != ".":
            break
        place += 2
    return tuple(parts)


class _Body:
    """Whether a semicolon belongs to the statement: in the body of an SQL function, and in the list of a rule's actions."""

    def __init__(self) -> None:
        self._count = 0
        self._creates = ""
        self._before = ""
        self._open: int | None = None

    def take(self, token: Token) -> None:
        word = token.word
        if self._count == 0 and word == "CREATE":
            self._creates = "?"
        elif self._creates == "?" and self._count <= 3 and word in ("FUNCTION", "PROCEDURE", "RULE"):
            self._creates = word
        if (self._before, word) == ("BEGIN", "ATOMIC"):
            self._open = 1
        elif self._open is not None:
            self._open += {"CASE": 1, "END": -1}.get(word, 0)
        self._before = word
        self._count += 1

    def holds(self, semicolon: Token) -> bool:
        if self._creates == "RULE":
            return semicolon.depth > 0
        return self._creates in ("FUNCTION", "PROCEDURE") and self._open is not None and self._open > 0


def _tokens(sql: str, engine: Engine) -> Iterator[Token]:
    depth = 0
    for kind, begin, end in _pieces(sql, engine):
        if kind == "comment":
            continue
        text = sql[begin:end]
        if text == ")":
            depth = max(depth - 1, 0)
        shown = LITERAL if kind in ("literal", "dollar") else text
        word = text.upper() if kind == "word" else shown
        # The text of a literal stays for what reads the body of a DO block; what is shown is the mark.
        yield Token(word, text, begin, depth)
        if text == "(":
            depth += 1


def _pieces(sql: str, engine: Engine) -> Iterator[tuple[str, int, int]]:
    """What the text consists of, kind by kind, from its beginning to its end; blanks are left out."""
    mysql = engine in (Engine.MARIADB, Engine.MYSQL)
    place = 0
    while place < len(sql):
        space = _SPACE.match(sql, place)
        if space:
            place = space.end()
            continue
        kind, end = _piece(sql, place, mysql=mysql, dollars=engine is Engine.POSTGRESQL)
        if kind:
            yield kind, place, end
        place = end


def _piece(sql: str, place: int, *, mysql: bool, dollars: bool) -> tuple[str, int]:
    """The kind and the end of what begins at ``place``. An empty kind is passed over."""
    two, one = sql[place : place + 2], sql[place]
    if (two == "--" and not (mysql and sql[place + 2 : place + 3].strip())) or (mysql and one == "#"):
        # PostgreSQL ends it at a carriage return too, and executes what follows.
        ending = (_LINE_END if dollars else _NEWLINE).search(sql, place)
        return "comment", ending.start() if ending else len(sql)
    if two == "/*":
        executed = _EXECUTED_COMMENT.match(sql, place) if mysql else None
        return ("", executed.end()) if executed else ("comment", _end_of_comment(sql, place, nests=dollars))
    if mysql and two == "*/":
        return "", place + 2
    if one == "'":
        return "literal", _end_of_quote(sql, place, "'", escapes=mysql)
    if one == '"':
        kind = "literal" if mysql else "name"
        return kind, _end_of_quote(sql, place, '"', escapes=mysql)
    if one == "`" and not dollars:
        return "name", _end_of_quote(sql, place, "`", escapes=False)
    dollar = _DOLLAR.match(sql, place) if dollars else None
    if dollar:
        end = sql.find(dollar[0], dollar.end())
        return "dollar", len(sql) if end < 0 else end + len(dollar[0])
    return _word_or_sign(sql, place, dollars=dollars)


def _word_or_sign(sql: str, place: int, *, dollars: bool) -> tuple[str, int]:
    prefix = next((each for each in _PREFIXES if sql[place : place + len(each)].upper() == each), "")
    after = place + len(prefix)
    if prefix and sql[after : after + 1] == "'":
        return "literal", _end_of_quote(sql, after, "'", escapes=prefix == "E" and dollars)
    if prefix == "U&" and sql[after : after + 1] == '"':
        return "name", _end_of_quote(sql, after, '"', escapes=False)
    word = _WORD.match(sql, place)
    if word:
        return "word", word.end()
    number = _NUMBER.match(sql, place) or _PAIRS.match(sql, place)
    return "sign", number.end() if number else place + 1


def _end_of_quote(sql: str, place: int, quote: str, *, escapes: bool) -> int:
    """Behind the closing quote; a doubled one, and with ``escapes`` one behind a backslash, does not close."""
    at = place + 1
    while at < len(sql):
        if escapes and sql[at] == "\\":
            at += 2
        elif sql[at] != quote:
            at += 1
        elif sql[at + 1 : at + 2] == quote:
            at += 2
        else:
            return at + 1
    return len(sql)


def _end_of_comment(sql: str, place: int, *, nests: bool) -> int:
    depth, at = 0, place
    for found in re.compile(r"/\*|\*/").finditer(sql, place):
        if found.start() < at:
            continue
        at = found.end()
        depth += 1 if found[0] == "/*" and (nests or depth == 0) else -1 if found[0] == "*/" else 0
        if depth == 0:
            return at
    return len(sql)
