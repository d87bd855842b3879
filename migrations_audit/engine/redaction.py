"""Taking secrets out of text that comes from elsewhere, and making any text fit to store and to show."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

from migrations_audit.masking import MASK as MASK

# Shorter values would turn ordinary words into masks and so tell the value; the two patterns below still catch them.
SHORTEST_SECRET: Final = 4

# Control, direction and zero-width characters, line separators, lone surrogates. Line feed and tab stay.
_UNFIT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_WORD: Final = re.compile(r"""[^\s"'<>`]+""")
# Bounded repeats: hostile output must not make the search quadratic.
_PASSWORD: Final = re.compile(
    r"""(?ix) ( (?:pg|ssl)? (?:password|passwd|pwd)
          (?: ["']? [ \t]{0,3} [=:] [ \t]{0,3} | \s{1,8} (?= (?:[en]|u&)? ['"] | \$\w{0,30}\$ ) ) )
        ( (?:[en]|u&)? ' (?: [^'\\\n] | \\. | '' ){0,300} ' | " (?: [^"\\\n] | \\. ){0,300} "
        | \$(?P<tag>\w{0,30})\$ [^$]{0,300} \$(?P=tag)\$ | [^\s'",;&)}\]]+ )"""
)
_QUOTE: Final = re.compile(r"""(?i)((?:[en]|u&)?)(['"]|\$\w*\$)""")
_NO_SECRET: Final = re.compile(r"(?i)null|none|true|false|default|%s|\$\d+|.*\(.*", re.DOTALL)
"""What stands after ``password =`` in SQL and is none: an expression must stay readable for whoever approves it."""

_URL_PASSWORD: Final = re.compile(r"://[^\s/:@]*:([^\s]+)@")
_SECRET_NAME: Final = re.compile(r"(?i)passw|pwd|secret|token|api_?key|access_?key|private|credential|dsn")


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """The values that are secrets by the names of their variables, and the passwords of the URLs among the others."""
    named = [value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= 8]
    return named + [found[1] for value in environment.values() if (found := _URL_PASSWORD.search(value))]


class Redactor:
    """Masks the given secrets, in the forms in which programs print them, and passwords in URLs and ``password=`` pairs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        """Return ``text`` without secrets and fit to store."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return clean(_PASSWORD.sub(_mask_value, _WORD.sub(_mask_userinfo, text)))


def clean(text: str) -> str:
    """Make ``text`` storable as UTF-8 in PostgreSQL and harmless to show: each unfit character becomes a visible escape."""
    return _UNFIT.sub(_escape, text.replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _mask_userinfo(found: re.Match[str]) -> str:
    """Mask what stands between ``scheme://user:`` and the last ``@`` of one word, whatever it holds."""
    word = found[0]
    begin, end = word.find("://"), word.rfind("@")
    colon = word.find(":", begin + 3, end) if begin >= 0 else -1
    return f"{word[: colon + 1]}{MASK}{word[end:]}" if colon >= 0 else word


def _mask_value(found: re.Match[str]) -> str:
    quote_mark = _QUOTE.match(found[2])
    if quote_mark is not None:
        return f"{found[1]}{quote_mark[0]}{MASK}{quote_mark[2]}"
    return found[0] if _NO_SECRET.fullmatch(found[2]) else f"{found[1]}{MASK}"


def _forms(secret: str) -> set[str]:
    encoded = {quote(secret, safe=safe, errors="replace") for safe in ("", "/", " +")}
    encoded.add(quote_plus(secret, errors="replace"))
    lowered = {re.sub(r"%[0-9A-F]{2}", lambda pair: pair[0].lower(), form) for form in encoded}
    in_json = {json.dumps(secret, ensure_ascii=choice)[1:-1] for choice in (True, False)}
    escaped = {repr(secret)[1:-1], ascii(secret)[1:-1], html.escape(secret)} | in_json
    conninfo = secret.replace("\\", "\\\\").replace("'", "\\'")
    forms = {secret, conninfo, secret.replace("'", "''")} | encoded | lowered | escaped
    return forms | {form.replace("%", "%%") for form in forms}  # as configparser wants its values
