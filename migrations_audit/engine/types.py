"""What crosses the engine's border: frozen values, no Django, no connection, no secret in a repr."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from migrations_audit.states import Engine, Operation, TargetStatus, UrlDelivery


@dataclass(frozen=True)
class Endpoint:
    """Where a URL points, without its password. A file has no host, and its path is the ``database``."""

    host: str
    port: int
    database: str
    user: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}" if self.host else self.database


@dataclass(frozen=True)
class Identity:
    """Which database answered, as it says itself. ``endpoint`` is what we dialled.

    ``engine`` is a word of ``states.Engine``. Only PostgreSQL has oids and timelines; elsewhere they are 0.
    """

    endpoint: Endpoint
    system_identifier: str
    database_oid: int
    database: str
    user: str
    server_address: str
    server_port: int
    server_version: str
    timeline: int
    in_recovery: bool
    engine: str = Engine.POSTGRESQL.value

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Identity:
        return cls(**{**data, "endpoint": Endpoint(**data["endpoint"])})


@dataclass(frozen=True)
class Catalog:
    """The schema of one database. ``body`` maps an object's key to its definition, both text and sorted.

    A key reads like the object: ``table public.orders``, ``column public.orders.id``,
    ``constraint public.orders.orders_pkey``, ``index public.orders_created``, ``enum public.status``,
    ``sequence …``, ``view …``, ``function public.f(integer)``, ``trigger …``, ``policy …``, ``row security …``.
    ``fingerprint`` is the SHA-256 of the canonical JSON of ``body``, in hex.
    """

    fingerprint: str
    body: dict[str, str]
    invalid_indexes: tuple[str, ...] = ()
    unvalidated_constraints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One line of the difference between two catalogs: ``+`` added, ``-`` removed, ``~`` changed."""

    sign: str
    key: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.sign} {self.key}"


@dataclass(frozen=True)
class Marker:
    """The row that a portal left in a database when it enrolled it. ``endpoint`` is ``host:port/database`` at that moment,
    ``written_at`` the target's clock, ISO 8601 in UTC."""

    id: str
    portal: str
    target: str
    endpoint: str
    written_at: str


@dataclass(frozen=True)
class Marking:
    """The markers in a database, one for each portal. ``may_write``: this role may leave one. ``problem``: why what is there
    cannot be read."""

    markers: tuple[Marker, ...] = ()
    may_write: bool = False
    problem: str = ""

    def of(self, portal: str) -> Marker | None:
        """The marker of the portal of this name."""
        return next((marker for marker in self.markers if marker.portal == portal), None)


@dataclass(frozen=True)
class Reading:
    """One look at a target, on one connection, in one read-only transaction where the engine has that for DDL.

    ``revisions`` is None when the version table does not exist, an empty tuple when it is empty. ``server_started_at`` tells a
    running server from its copy; ISO 8601 in UTC. ``wal_position`` is where a recovery to this moment would end. ``marking`` is
    None where the kind of server takes no marker.
    """

    identity: Identity
    revisions: tuple[str, ...] | None
    catalog: Catalog
    pooled: bool
    duration_ms: int
    version_tables: tuple[str, ...] = ()
    prepared_transactions: tuple[str, ...] = ()
    marking: Marking | None = None
    server_started_at: str = ""
    wal_position: str = ""

    @property
    def engine(self) -> Engine:
        return Engine(self.identity.engine)

    @property
    def transactional_ddl(self) -> bool:
        """Whether a revision that fails leaves nothing behind there."""
        return self.engine.transactional_ddl


@dataclass(frozen=True)
class RunSession:
    """A session of a run as its supervisor stored it before the project got it.

    ``id`` is the server's; ``name`` the lock that this session alone holds, on engines that know no application name.
    """

    id: int
    name: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ScriptFile:
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Frozen:
    """The script files of a project at one moment. ``digest`` covers configuration path, section and every file."""

    digest: str
    files: tuple[ScriptFile, ...]
    archive: bytes = field(repr=False)


@dataclass(frozen=True)
class Revision:
    """One revision file, read without executing it."""

    revision: str
    down_revisions: tuple[str, ...]
    depends_on: tuple[str, ...]
    branch_labels: tuple[str, ...]
    message: str
    path: str
    sha256: str
    transactional: bool
    has_downgrade: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a script directory, found by reading it. ``fatal`` means no plan can be made."""

    code: str
    path: str
    sentence: str
    fatal: bool = True


@dataclass(frozen=True)
class Graph:
    """The revisions of one snapshot. ``heads`` are the effective heads, ``depends_on`` included."""

    revisions: tuple[Revision, ...]
    heads: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    def by_id(self) -> dict[str, Revision]:
        return {item.revision: item for item in self.revisions}


@dataclass(frozen=True)
class Step:
    """One revision to apply or take back, in the order in which Alembic will do it."""

    position: int
    revision: str
    down_revisions: tuple[str, ...]
    direction: str
    message: str
    path: str
    sha256: str
    transactional: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Resolution:
    """A request made concrete: full revision ids only.

    ``destination`` is what is handed to Alembic (full ids, or ``base``); ``result`` is the exact set of rows that the
    version table must hold afterwards.
    """

    operation: Operation
    requested: str
    start: tuple[str, ...]
    destination: tuple[str, ...]
    result: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Standing:
    """Where a reading stands in a graph."""

    status: TargetStatus
    pending: tuple[str, ...]
    heads: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class ProjectSettings:
    """What the runner must know about a project."""

    config_path: str
    ini_section: str
    interpreter: str
    url_delivery: UrlDelivery
    url_delivery_name: str
    driver: str
    extra_environment: dict[str, str]
    version_table: str
    version_table_schema: str


@dataclass(frozen=True)
class RunLimits:
    """Limits of one run. Times in the unit that the name says."""

    lock_timeout_ms: int
    statement_timeout_ms: int
    lock_budget_s: int
    deadline_s: int
    memory_bytes: int = 2 * 1024**3
    processes: int = 4_096
    output_bytes: int = 4 * 1024**2


@dataclass(frozen=True)
class RunnerExit:
    """How the runner child ended. Facts about the process only; what the target holds is read elsewhere.

    ``ended_by`` is ``itself``, ``deadline``, ``cancel``, ``lost_lease`` or ``protocol``. ``output_sha256`` covers
    all that the migration printed, also what was cut.
    """

    exit_code: int
    signal: int
    ended_by: str
    output_sha256: str
    output_bytes: int
    output_cut: bool
