"""What a rehearsal looks at, after each statement and each step."""

from __future__ import annotations

import json
from typing import Any

from . import dbapi, failures, telling

MAX_LOOKS = 2_000  # of a rehearsal, after a statement; afterwards it looks at the end of each step only
INSPECTION_PIECE = 200_000


class Inspection:
    """Asks the server, in the migrating session itself, what each statement and each step changed. On a copy only.

    The request brings the questions: nothing here knows what they mean. Told is what is answered differently than before; those
    under ``transaction`` are asked after a statement too, and their answers are forgotten with each COMMIT.
    """

    def __init__(self, request: telling.Facts, events: telling.Events) -> None:
        asked: telling.Facts = request["inspect"]
        self._passing: telling.Facts = asked.get("transaction", {})
        self._of_statement: telling.Facts = {**asked.get("statement", {}), **self._passing}
        self._of_step: telling.Facts = asked.get("step", {})
        self._events = events
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._looks = 0
        self._begun = False  # COMMIT notes answers too, and env.py may commit before anything was asked
        self.wanted = bool(asked)

    def begin(self, connection: Any) -> None:
        """Know all answers before the project has its first connection; nothing is told, and no transaction stays open."""
        if self.wanted and not self._begun:
            self._begun = True
            self._ask(connection, {**self._of_statement, **self._of_step}, {})
            connection.rollback()

    def after_statement(self, connection: Any, **facts: Any) -> None:
        self._looks += 1
        if self._looks <= MAX_LOOKS:
            self._ask(connection, self._of_statement, {"when": "statement", **facts})
        elif self._looks == MAX_LOOKS + 1:
            self._events.emit("looks_ended")

    def after_step(self, connection: Any, **facts: Any) -> None:
        self._ask(connection, self._of_step, {"when": "step", **facts})

    def committed(self) -> None:
        self._seen.update((name, set()) for name in self._passing)

    def _ask(self, connection: Any, questions: telling.Facts, facts: telling.Facts) -> None:
        if not self.wanted:
            return
        try:
            for name, query in questions.items():
                found = {tuple(map(str, row)) for row in dbapi.rows(connection, query)}
                before, self._seen[name] = self._seen.get(name, set()), found
                if facts:
                    self._tell({"of": name, "sign": "gone", **facts}, before - found)
                    self._tell({"of": name, "sign": "new", **facts}, found - before)
        except Exception as error:  # noqa: BLE001  a rehearsal that cannot look says so, and is none
            self.wanted = False
            self._events.emit("not_inspected", **failures.described(error))

    def _tell(self, facts: telling.Facts, changed: set[tuple[str, ...]]) -> None:
        """Packed, so that nobody masks a word in a definition; in pieces, because a line may not become too long."""
        packed = json.dumps(sorted(changed)).encode().hex() if changed else ""
        for begin in range(0, len(packed), INSPECTION_PIECE):
            piece = packed[begin : begin + INSPECTION_PIECE]
            self._events.emit("inspected", packed=piece, more=begin + INSPECTION_PIECE < len(packed), **facts)
