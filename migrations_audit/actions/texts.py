"""Free text as people type it: a reason, a ticket, a comment."""

from __future__ import annotations

import re
from typing import Final

from migrations_audit.errors import Invalid

_URL_WITH_PASSWORD: Final = re.compile(r"(?i)[a-z][a-z0-9+.-]*://[^/\s:@]*:[^\s@]+@")


def check(value: str, *, field: str, longest: int, required: bool = False) -> str:
    """The text without surrounding space, with plain line ends. Raises Invalid for what is missing, too long or no text."""
    text = value.strip().replace("\r\n", "\n")
    if required and not text:
        raise Invalid(f"Give a {field}: the approvers and the audit need it.", field=field)
    if len(text) > longest:
        raise Invalid(f"The {field} is longer than {longest:,} characters.", field=field)
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid(
            f"The {field} holds characters that are no text (a NUL, or bytes that are not UTF-8).", field=field
        )
    if _URL_WITH_PASSWORD.search(text):
        raise Invalid(
            f"The {field} holds a URL with a password. It would be shown and kept in the audit: take the password out.",
            field=field,
        )
    return text
