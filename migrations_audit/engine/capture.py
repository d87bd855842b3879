"""What a migration prints, kept within bounds and fit to store. It is for people; nothing is ever read out of it."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from typing import Final

TAIL_BYTES: Final = 64 * 1024
MAX_LINE: Final = 64 * 1024


class Output:
    """Passes on whole lines up to ``limit`` bytes of all streams together, and at the end the last 64 KiB of each stream.

    Whole lines, because a secret cut in two would not be recognised. ``on_text(stream, text)`` gets one or more of them.
    """

    def __init__(self, *, limit: int, on_text: Callable[[str, str], None]) -> None:
        self._limit = limit
        self._on_text = on_text
        self._streams: dict[str, _Lines] = {}
        self._tails: dict[str, bytearray] = {}
        self._left_out: dict[str, int] = {}
        self._digest = hashlib.sha256()
        self.total = 0

    @property
    def sha256(self) -> str:
        """The digest of all bytes, in the order in which they arrived."""
        return self._digest.hexdigest()

    @property
    def cut(self) -> bool:
        """Whether something was left out."""
        return any(self._left_out.values())

    def feed(self, stream: str, data: bytes) -> None:
        """Take what ``stream`` printed next."""
        kept = data[: max(0, self._limit - self.total)]
        self._digest.update(data)
        self.total += len(data)
        self._pass_on(stream, self._streams.setdefault(stream, _Lines()).take(kept))
        tail = self._tails.setdefault(stream, bytearray())
        tail += data[len(kept) :]
        excess = max(0, len(tail) - TAIL_BYTES)
        del tail[:excess]
        self._left_out[stream] = self._left_out.get(stream, 0) + excess

    def close(self) -> None:
        """Pass on what is left: the last line without an end, or the mark of what was left out and the tail after it."""
        for stream, lines in self._streams.items():
            tail, left_out = bytes(self._tails[stream]), self._left_out[stream]
            if not left_out:
                self._pass_on(stream, lines.take(tail) + lines.rest())
                continue
            begin = tail.find(b"\n") + 1
            self._pass_on(stream, f"[… {left_out + begin:,} bytes and a part of a line left out …]\n")
            self._pass_on(stream, tail[begin:].decode("utf-8", "replace"))

    def _pass_on(self, stream: str, text: str) -> None:
        if text:
            self._on_text(stream, text)


class _Lines:
    """Bytes to text, given out at line ends. A line of more than 64 Ki characters is given out in pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""

    def take(self, data: bytes) -> str:
        self._text += self._decoder.decode(data)
        end = self._text.rfind("\n") + 1
        if len(self._text) - end > MAX_LINE:
            end = self._text.rfind(" ") + 1 or len(self._text)
        text, self._text = self._text[:end], self._text[end:]
        return text

    def rest(self) -> str:
        text, self._text = self._text + self._decoder.decode(b"", final=True), ""
        return text
