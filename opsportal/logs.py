"""How a line of the log is written: on one line, whatever somebody sent that stands in it."""

from __future__ import annotations

import logging
import re

# Line ends of every kind, control and direction characters. A tab stays.
_FORGING = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class LineFormatter(logging.Formatter):
    """Escapes what could make one message look like two. The lines of a traceback stay lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _FORGING.sub(lambda found: f"\\x{ord(found[0]):02x}", super().formatMessage(record))
