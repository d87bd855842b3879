"""Finding passwords in script files, so that people read the scripts without them. Pure.

An approver must see what runs. So only the characters of what stands in the place of a password are hidden, in Python only within
string literals, and every line on which something is hidden is told.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MASK: Final = "•••"

# What a literal looks like after PASSWORD: plain, E'', N'', U&'' and $tag$…$tag$. Bounded, so that hostile text costs no more
# than linear time.
LITERAL: Final = r"""
    (?:[en]|u&)?\\?' (?: [^'\\\n] | \\[^'] | '' | \\'(?!\s|$|"|;|\)) ){0,300} \\?'
  | " (?: [^"\\\n] | \\. ){0,300} "
  | \$(?P<tag>\w{0,30})\$ [^$]{0,300} \$(?P=tag)\$
"""
_WORD: Final = re.compile(r"""[^\s"'<>`]{1,2000}""")
_IN_TEXT: Final = re.compile(
    rf"""(?ix) (?: (?:pg|ssl)? (?:password|passwd|pwd) )
        (?: (?: \\?["'] )? [ \t]{{0,3}} [=:] [ \t]{{0,3}} | \s{{1,8}} (?= (?:[en]|u&)?\\?' | \$ ) )
        (?: (?P<quoted> {LITERAL} ) | (?<=[=:]) (?P<bare> [^\s'",;&)}}\]]{{1,300}} ) )"""
)
_OPENS: Final = re.compile(r"""(?i)(?:[en]|u&)?\\?['"]|\$\w*\$""")
_PLACEHOLDER: Final = re.compile(
    r"""\s*(?:%s|%\(\w*\)s|\$\d+|\$?\{\w*\}|:\w+|<[\w -]*>|\*+|x+|null|none|default|true|false|…|\.\.\.)?\s*""", re.I
)
_SECRET_NAME: Final = re.compile(
    r"(?i)(?:.*[_.-])?(?:pg)?(?:password|passwd|pwd|passphrase|secret|secret_?key|api_?key|access_?key|auth_?token|api_?token)"
)
_ASKS: Final = frozenset({"getenv", "get", "setdefault"})
_SETTING: Final = re.compile(
    r"""(?m)^[ \t]{0,40}["']?([\w.-]{1,80})["']?[ \t]{0,10}[=:][ \t]{0,10}(\S.{0,500}?)[ \t\r]{0,20}$"""
)
_STRINGS: Final = frozenset(
    number for name in ("STRING", "FSTRING_MIDDLE") if (number := getattr(tokenize, name, None)) is not None
)
_HINT: Final = re.compile(
    r"(?i)passw|pwd|passphrase|secret|api_?key|access_?key|auth_?token|api_?token|://[^\s@]{0,2000}@"
)
_PATH: Final = re.compile("[/?#]")
_WHITE: Final = frozenset({tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})
_QUOTES: Final = re.compile(r"""(?i)[a-z]{0,2}("{3}|'{3}|"|')""")

# The files in which a password can stand that matters to a run; prose about passwords does not.
_LOOKED_INTO: Final = (".py", ".ini", ".cfg", ".toml", ".sql", ".yaml", ".yml", ".json", ".conf")
_EXAMPLE: Final = "driver://user:pass@"
"""What Alembic's own template for alembic.ini says."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Masked:
    """A text for people. ``lines`` are the numbers of those on which something is hidden, from 1."""

    text: str
    lines: tuple[int, ...]


def mask(text: str, *, is_python: bool) -> Masked:
    """``text`` with a mask in the place of each password: in URLs, after PASSWORD, and given to a name like ``password``.

    A placeholder (``%s``, ``{name}``, an empty text) is not one, and neither is an expression.
    """
    if not _HINT.search(text):
        return Masked(text, ())
    found = sorted({span for span in _spans(text, is_python=is_python) if span[0] < span[1]})
    pieces: list[str] = []
    lines: list[int] = []
    shown_to, line = 0, 1
    for begin, end in found:
        if begin < shown_to:
            continue
        line += text.count("\n", shown_to, begin)
        pieces += [text[shown_to:begin], MASK]
        lines.append(line)
        line += text.count("\n", begin, end)
        shown_to = end
    return Masked("".join([*pieces, text[shown_to:]]), tuple(dict.fromkeys(lines)))


def plain_secrets(files: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Where passwords stand in the text of a project's files: path and line numbers."""
    found = {}
    for path in sorted(files):
        if path.endswith(_LOOKED_INTO):
            lines = mask(files[path].replace(_EXAMPLE, ""), is_python=path.endswith(".py")).lines
            if lines:
                found[path] = lines
    return found


def _spans(text: str, *, is_python: bool) -> Iterator[Span]:
    if is_python:
        try:
            yield from list(_python_spans(text))
            return
        except (tokenize.TokenError, SyntaxError, ValueError):
            pass  # no Python: read it as any other text
    yield from _text_spans(text, is_code=False)
    for setting in _SETTING.finditer(text):
        if _SECRET_NAME.fullmatch(setting[1]):
            yield from _value_span(text, *setting.span(2))


def _text_spans(text: str, *, is_code: bool, begin: int = 0, end: int | None = None) -> Iterator[Span]:
    """Passwords of URLs, and what follows PASSWORD, within one text. ``is_code`` for an f-string: its braces hold expressions."""
    stop = len(text) if end is None else end
    for word in _WORD.finditer(text, begin, stop):
        span = _userinfo(text, *word.span())
        if span and not (is_code and "{" in text[slice(*span)]) and not _PLACEHOLDER.fullmatch(text[slice(*span)]):
            yield span
    for found in _IN_TEXT.finditer(text, begin, stop):
        span = _literal_span(text, *found.span("quoted")) if found["quoted"] else found.span("bare")
        value = text[slice(*span)]
        if "(" not in value and not (is_code and "{" in value) and not _PLACEHOLDER.fullmatch(value):
            yield span


def _userinfo(text: str, begin: int, end: int) -> Span | None:
    """The password of ``scheme://user:password@host`` in one word."""
    scheme = text.find("://", begin, end)
    colon = text.find(":", scheme + 3, end) if scheme >= 0 else -1
    if colon < 0:
        return None
    path = _PATH.search(text, colon, end)
    at = text.rfind("@", colon, path.start() if path else end)
    if at < 0:  # a raw slash in the password
        at = text.rfind("@", colon, end)
    return (colon + 1, at) if at > colon + 1 else None


def _literal_span(text: str, begin: int, end: int) -> Span:
    opened = _OPENS.match(text, begin)
    if opened is None:
        return begin, end
    opening = opened[0].lstrip("eEnNuU&")
    return opened.end(), end - len(opening)


def _value_span(text: str, begin: int, end: int) -> Iterator[Span]:
    """The value of a setting in an ini, TOML or YAML file, without its quotes."""
    quoted = text[begin] in "'\"" and end - begin >= 2 and text[end - 1] == text[begin]
    span = (begin + 1, end - 1) if quoted else (begin, end)
    if not _PLACEHOLDER.fullmatch(text[slice(*span)]) and "://" not in text[slice(*span)]:
        yield span


def _python_spans(text: str) -> Iterator[Span]:
    starts = [0]
    for line in text.split("\n"):  # as the tokenizer counts lines, whatever else might end one
        starts.append(starts[-1] + len(line) + 1)
    said: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _WHITE:
            continue
        begin = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        if token.type == tokenize.COMMENT:
            yield from _text_spans(text, is_code=False, begin=begin, end=end)
            continue
        if token.type in _STRINGS:
            yield from _string_spans(text, token, begin, end, is_a_secrets=_is_given_to_a_secret(said[-5:]))
        said.append(token)


def _string_spans(text: str, token: tokenize.TokenInfo, begin: int, end: int, *, is_a_secrets: bool) -> Iterator[Span]:
    quotes = _QUOTES.match(token.string) if token.type == tokenize.STRING else None
    is_code = "f" in token.string[: quotes.start(1)].lower() if quotes else False
    inside = (begin + quotes.end(), end - len(quotes[1])) if quotes else (begin, end)
    value = text[slice(*inside)]
    if is_a_secrets and not _PLACEHOLDER.fullmatch(value) and not (is_code and "{" in value):
        yield inside
    else:
        yield from _text_spans(text, is_code=is_code, begin=inside[0], end=inside[1])


def _is_given_to_a_secret(tokens: list[tokenize.TokenInfo]) -> bool:
    """Whether a string behind these tokens is what a name like ``password`` gets: assigned, an argument, in a dict, a default."""
    before = [each.string for each in tokens][::-1] + [""] * 5
    if before[0] == "=":
        names = [before[1], before[2] if before[1] == "]" else "", before[3] if before[2] == ":" else ""]
    elif before[0] == ":":
        names = [before[1]] if before[1][:1] in "'\"" else []
    elif before[0] == "," and before[2] == "(" and before[3] in _ASKS:
        names = [before[1]]
    else:
        names = []
    return any(name and _SECRET_NAME.fullmatch(name.strip("'\"")) for name in names)
