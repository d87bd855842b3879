"""Text from elsewhere, made fit to show: what would be invisible or would reorder the line becomes a visible escape."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

KEPT = frozenset("\n\t")
HIDDEN_IN_PAGES: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""What no page of the portal has a use for, in whatever way it came there."""

HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def visible(text: str) -> str:
    """``text`` with control, direction, zero-width and unassigned characters written as escapes. Line feed and tab stay."""
    if text.isprintable():
        return text
    return "".join(_shown(char) for char in text.replace("\r\n", "\n"))


def _shown(char: str) -> str:
    if char in KEPT or unicodedata.category(char) not in HIDDEN:
        return char
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
