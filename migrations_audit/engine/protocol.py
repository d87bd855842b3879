"""What supervisor and runner say to each other: one request in, JSON lines with events out, and the word to go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from migrations_audit.engine.types import RunLimits
from migrations_audit.states import Engine, UrlDelivery

MAX_LINE_BYTES: Final = 1024 * 1024
MAX_EVENTS: Final = 200_000

EVENTS: Final = {
    "hello": "pid, python, alembic, sqlalchemy: the interpreter runs, nothing of the project is loaded yet",
    "connected": "driver, engine, backend_pid, session, identity facts, settings: a new connection, checked; settings read back",
    "connection_failed": "type, sqlstate, message: the project's driver could not connect",
    "lock_waiting": "holder, waited_ms: somebody else works on the target; at most once a second",
    "lock_taken": "waited_ms: this session holds the target's lock; again when the lock moves to another session",
    "ready": "number: this new connection was checked; it is handed to the project when the supervisor has said GO",
    "refused": "code, message: the runner ended itself before it did what was not approved",
    "context": "heads, steps, external_transaction, transaction_per_migration: Alembic is about to do the planned steps",
    "step_started": "position, revision, direction",
    "step_ended": "position, revision, direction, ms, statements: its own transaction, if it has one, is committed",
    "version_written": "position, revision, direction, heads: not committed yet",
    "statement_started": "position, revision, direction, index, text, cut, values: how many characters more it has; "
    "whether values are bound to it, which are never told",
    "statement_ended": "position, revision, direction, index, ms, rowcount; idle, in a rehearsal: no transaction was left open",
    "statement_failed": "type, sqlstate, message, statement: the project may still handle it",
    "inspected": "when, of, sign, packed, more: of a rehearsal, the rows that are new or gone in an answer, as JSON in hex",
    "looks_ended": "too many statements: from here on a rehearsal looks at the end of each step only",
    "not_inspected": "type, sqlstate, message: a question of the request could not be asked; no further one is",
    "autocommit_entered": "all work before is committed",
    "autocommit_left": "an autocommit block ended well",
    "commit": "the server confirmed a COMMIT",
    "rollback": "SQLAlchemy rolls back",
    "sql": "text: a piece of the SQL of an offline run",
    "error": "revision, type, sqlstate, message, statement, where: Alembic ended with this exception",
    "no_connection": "message: Alembic returned without having connected",
    "steps_missing": "message, steps: Alembic returned before the plan was at its end",
    "left_behind": "count: processes that the project leaves in a namespace of its own, which ends with the runner",
    "finished": "ok, connections, steps_ended, version_writes, commits, commit_after_version, external_transaction, …",
}
"""What the runner may say, and with which facts. The supervisor itself adds ``leftovers_killed`` with a count."""


GO: Final = b"g"
"""What the supervisor answers to ``ready``, on the pipe of the request."""


class Malformed(Exception):
    """The runner said something that it never says. Its run cannot be followed any further."""


@dataclass(frozen=True)
class Connection:
    """The approved database. ``parameters`` are its driver's, ``sslmode`` for example; of a file only ``database`` is there."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    parameters: dict[str, str] = field(default_factory=dict)
    engine: str = Engine.POSTGRESQL.value


@dataclass(frozen=True)
class Expected:
    """What the server must say about itself before anything is executed."""

    system_identifier: str
    database_oid: int
    database: str


@dataclass(frozen=True)
class RunnerRequest:
    """All that the runner needs for one run. Times in the unit that the name says; 0 means no limit.

    ``config_path`` is the ini file and ``toml_path`` the pyproject.toml that Alembic reads; one of them may be empty. Both are
    relative to the folder in which the runner is started. ``mode`` is ``upgrade``, ``downgrade`` or ``stamp``. With
    ``command`` the project's own command is called, with ``offline_range`` (``a:b``) nothing is executed: the SQL is written, and
    any connection refused. ``steps`` are pairs of revision and ``upgrade``, ``downgrade`` or ``stamp``, in Alembic's order.
    ``files`` maps their revisions to the SHA-256 of the approved files, ``env_py`` is that of env.py. An empty
    ``version_table_schema`` means the role's own search path. ``lock_name`` is the run lock where ``lock_key`` is none: a named
    lock of MariaDB, the path of a SQLite file's lock. ``inspect`` is for rehearsals: questions in SQL, by name, that are asked in
    the migrating session after each ``statement``, in the same ``transaction``, and at the end of each ``step``.
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
    lock_name: str = ""
    toml_path: str = ""
    x_arguments: tuple[str, ...] = field(default=(), repr=False)
    extra_environment: dict[str, str] = field(default_factory=dict, repr=False)
    command: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    env_py: str = ""
    offline_range: str = ""
    inspect: dict[str, dict[str, str]] = field(default_factory=dict)

    def as_json(self, limits: RunLimits) -> bytes:
        """Return the line that the runner reads first. It holds the password."""
        own = {"memory_bytes": limits.memory_bytes, "processes": limits.processes}
        return json.dumps({**asdict(self), **own}).encode() + b"\n"


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
