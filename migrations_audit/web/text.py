"""Text from elsewhere, made fit to show: what would be invisible or would reorder the line becomes a visible escape."""

from __future__ import annotations

import unicodedata

KEPT = frozenset("\n\t")
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
