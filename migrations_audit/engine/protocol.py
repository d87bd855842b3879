"""What supervisor and runner say to each other: one request in, JSON lines with events out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from migrations_audit.states import UrlDelivery

MAX_LINE_BYTES: Final = 1024 * 1024
MAX_EVENTS: Final = 200_000

EVENTS: Final = frozenset(
    {
        "hello",
        "connected",
        "connection_failed",
        "lock_waiting",
        "lock_taken",
        "refused",
        "context",
        "step_started",
        "step_ended",
        "version_written",
        "statement_started",
        "statement_ended",
        "statement_failed",
        "autocommit_entered",
        "autocommit_left",
        "commit",
        "rollback",
        "sql",
        "error",
        "no_connection",
        "steps_missing",
        "finished",
    }
)
"""What the runner may say. The supervisor itself adds ``leftovers_killed``."""


class Malformed(Exception):
    """The runner said something that it never says. Its run cannot be followed any further."""


@dataclass(frozen=True)
class Connection:
    """The approved database. ``parameters`` are libpq's, ``sslmode`` for example."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What the server must say about itself before anything is executed."""

    system_identifier: str
    database_oid: int
    database: str


@dataclass(frozen=True)
class RunnerRequest:
    """All that the runner needs for one run. Times in the unit that the name says; 0 means no limit.

    ``mode`` is ``upgrade`` or ``downgrade``. With ``offline_range`` (``a:b``) nothing is executed: the SQL is written, and any
    connection refused. ``steps`` are pairs of revision and ``upgrade`` or ``downgrade``, in Alembic's order. An empty
    ``version_table_schema`` means the role's own search path.
    """

    mode: str
    config_path: str
    ini_section: str
    url: str = field(repr=False)
    url_delivery: UrlDelivery
    url_delivery_name: str
    connection: Connection
    expected: Expected
    application_name: str
    lock_key: tuple[int, int]
    lock_budget_s: int
    lock_timeout_ms: int
    statement_timeout_ms: int
    idle_in_transaction_timeout_ms: int
    client_connection_check_interval_ms: int
    start: tuple[str, ...]
    destination: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    version_table: str = "alembic_version"
    version_table_schema: str = ""
    x_arguments: tuple[str, ...] = field(default=(), repr=False)
    extra_environment: dict[str, str] = field(default_factory=dict, repr=False)
    offline_range: str = ""

    def as_json(self, *, memory_bytes: int) -> bytes:
        """Return the document that the runner reads. It holds the password."""
        return json.dumps({**asdict(self), "memory_bytes": memory_bytes}).encode()


class EventLines:
    """Turns the bytes of the event pipe into events, and refuses what the runner never says."""

    def __init__(self, fit: Callable[[str], str]) -> None:
        self._fit = fit
        self._rest = bytearray()
        self._count = 0
        self.finished = False

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the events that ``data`` completes. Raises Malformed."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if max(map(len, (*lines, rest))) > MAX_LINE_BYTES:
            raise Malformed("an event longer than a mebibyte")
        for line in lines:
            self._count += 1
            if self._count > MAX_EVENTS:
                raise Malformed("too many events")
            yield self._event(bytes(line))

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise Malformed("an event that is not JSON") from None
        name = event.get("event") if isinstance(event, dict) else None
        if not isinstance(name, str) or name not in EVENTS:
            raise Malformed("an event without a known name")
        self.finished = self.finished or name in ("finished", "refused")
        return {self._fit(key): self._fitted(value) for key, value in event.items()}

    def _fitted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._fit(value)
        if isinstance(value, list):
            return [self._fitted(each) for each in value]
        if isinstance(value, dict):
            return {self._fit(key): self._fitted(each) for key, each in value.items()}
        return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
