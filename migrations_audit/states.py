"""The words of the portal as enums, and the life of a run: its states and the table of legal moves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final


class RunState(StrEnum):
    REQUESTED = "requested"
    PLANNING = "planning"
    PLAN_FAILED = "plan_failed"
    AWAITING_APPROVAL = "awaiting_approval"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    VOID = "void"
    APPROVED = "approved"
    QUEUED = "queued"
    REFUSED = "refused"
    RUNNING = "running"
    APPLIED = "applied"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"
    OUTCOME_UNKNOWN = "outcome_unknown"
    CLOSED = "closed"


class Phase(StrEnum):
    """Where a running run is."""

    NONE = ""
    PREFLIGHT = "preflight"
    LOCK = "lock"
    EXECUTE = "execute"
    VERIFY = "verify"


class Verdict(StrEnum):
    """What the target said when it was read back. Set only together with evidence."""

    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    CONTRADICTED = "contradicted"


class StepState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    COMMITTED = "committed"
    FAILED = "failed"


class Operation(StrEnum):
    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    ADOPT = "adopt"


class TargetStatus(StrEnum):
    """What one reading says about a target against one snapshot; what depends on time (stale) is not here."""

    IN_SYNC = "in_sync"
    BEHIND = "behind"
    AHEAD = "ahead"
    UNKNOWN_REVISION = "unknown_revision"
    SEVERAL_HEADS = "several_heads"
    NOT_INITIALISED = "not_initialised"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"
    WRONG_DATABASE = "wrong_database"
    UNREADABLE_SCRIPTS = "unreadable_scripts"
    REGRESSED = "regressed"
    TABLES_MISSING = "tables_missing"


class Outcome(StrEnum):
    """The outcome of one check. There is no "skipped": a check that could not run has failed."""

    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"
    COULD_NOT_RUN = "could_not_run"


class UrlDelivery(StrEnum):
    """How the project takes its database URL."""

    SQLALCHEMY_URL = "sqlalchemy.url"
    ENVIRONMENT = "environment"
    X_ARGUMENT = "x_argument"


class RehearsalState(StrEnum):
    """Where a rehearsal is. What came of it is an ``Outcome``: passed, failed, or could not run."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class Grade(StrEnum):
    """How far a revision can be taken back, as seen on a copy."""

    EXACT = "exact"
    LOSSY = "lossy"
    IMPOSSIBLE = "impossible"
    UNTESTED = "untested"


class RehearsalDemand(StrEnum):
    """When a plan is rehearsed, and what must have come of it before the plan is approved and started."""

    ON_REQUEST = "on_request"
    INFORM = "inform"
    TRIED = "tried"
    PASSED = "passed"

    @property
    def is_condition(self) -> bool:
        return self in (RehearsalDemand.TRIED, RehearsalDemand.PASSED)


class Engine(StrEnum):
    """What kind of server or library a target's database is."""

    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"
    MYSQL = "mysql"
    SQLITE = "sqlite"

    @property
    def label(self) -> str:
        """The name that people know it by."""
        return {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL", "sqlite": "SQLite"}[self.value]

    @property
    def transactional_ddl(self) -> bool:
        """Whether a revision that fails leaves nothing behind. SQLite could roll DDL back, but its driver commits before it."""
        return self is Engine.POSTGRESQL


class Isolation(StrEnum):
    """What keeps migration code apart from the portal on a worker, from the least to the most."""

    NONE = "none"
    NON_DUMPABLE = "non_dumpable"
    SEPARATE_USER = "separate_user"
    BUBBLEWRAP = "bubblewrap"

    def covers(self, demanded: str) -> bool:
        """Whether this is at least the level ``demanded``. The empty word demands nothing."""
        order = list(Isolation)
        return not demanded or order.index(self) >= order.index(Isolation(demanded))


class Blocks(IntEnum):
    """What a statement keeps others from while it holds its lock, the worst last. UNSEEN: nobody could look."""

    NOTHING = 0
    ROWS = 1
    UNSEEN = 2
    WRITES = 3
    ALL = 4


_S = RunState

MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    _S.REQUESTED: frozenset({_S.PLANNING, _S.WITHDRAWN}),
    _S.PLANNING: frozenset({_S.AWAITING_APPROVAL, _S.PLAN_FAILED, _S.WITHDRAWN}),
    # To queued only by broken glass, which the database asks for as well.
    _S.AWAITING_APPROVAL: frozenset({_S.APPROVED, _S.QUEUED, _S.REJECTED, _S.WITHDRAWN, _S.EXPIRED, _S.VOID}),
    _S.APPROVED: frozenset({_S.AWAITING_APPROVAL, _S.QUEUED, _S.REJECTED, _S.WITHDRAWN, _S.EXPIRED, _S.VOID}),
    # Back to approved: a window closed or the portal was frozen before a worker took it up. Nothing of it has run.
    _S.QUEUED: frozenset({_S.APPROVED, _S.RUNNING, _S.CANCELLED, _S.VOID, _S.REFUSED}),
    _S.RUNNING: frozenset({_S.APPLIED, _S.FAILED, _S.ERROR, _S.CANCELLED, _S.VOID, _S.REFUSED, _S.OUTCOME_UNKNOWN}),
    _S.OUTCOME_UNKNOWN: frozenset({_S.APPLIED, _S.FAILED, _S.ERROR, _S.CANCELLED, _S.CLOSED}),
    _S.PLAN_FAILED: frozenset(),
    _S.REJECTED: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.VOID: frozenset(),
    _S.REFUSED: frozenset(),
    _S.APPLIED: frozenset(),
    _S.FAILED: frozenset(),
    _S.ERROR: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.CLOSED: frozenset(),
}

TERMINAL: Final = frozenset(state for state, targets in MOVES.items() if not targets)
LIVE: Final = frozenset({_S.QUEUED, _S.RUNNING, _S.OUTCOME_UNKNOWN})
"""A target has at most one run in these states."""

OPEN: Final = frozenset(set(RunState) - TERMINAL)


def sources(destination: RunState) -> frozenset[RunState]:
    """The states from which ``destination`` may be reached."""
    return frozenset(state for state, targets in MOVES.items() if destination in targets)
