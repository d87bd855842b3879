"""What must hold after every fault, and the target's own word on what was executed there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from migrations_audit import hashchain
from migrations_audit.actions import runs
from migrations_audit.models import AuditEvent, MigrationRun
from migrations_audit.models.clock import database_now
from migrations_audit.states import RunState, Verdict
from tests import people, servers
from tests.acceptance.portal import Portal
from tests.engine import runnable

LATE = timedelta(seconds=15)

COUNT = """op.execute("SELECT nextval('executions')")\n"""
"""The first line of a revision whose executions are counted. A sequence keeps its value when the transaction is rolled back."""

EMPTY_VERSION_TABLE = (
    "CREATE TABLE alembic_version "
    "(version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""As Alembic makes it at its first run."""


def counted(url: str, up: str, *more: runnable.Script) -> list[runnable.Script]:
    """Revision ``r1``, whose executions the target counts from now on, and those that follow it."""
    change(url, "CREATE SEQUENCE executions")
    return [runnable.Script("r1", COUNT + up), *more]


def executions(url: str) -> int:
    """How often the counted revision was begun on the target, whatever became of it."""
    return int(ask(url, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM executions"))


def ask(url: str, query: str) -> str:
    """The single value that a query gives on the target, as text."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return "" if row is None else str(row[0])


def change(url: str, *statements: str) -> None:
    """Execute statements on the target, each by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def tables(url: str) -> set[str]:
    """The tables of the target, but Alembic's and the portal's own."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {str(row[0]) for row in rows} - {"alembic_version"}


def active(url: str, query: str = "pg_sleep") -> bool:
    """Whether another session of the database executes something like ``query``."""
    words = f"%{query}%"
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"
            " AND pid <> pg_backend_pid() AND state = 'active'",
            [words],
        ).fetchone()
    return row is not None and row[0] > 0


@contextmanager
def holding(url: str, statement: str) -> Iterator[None]:
    """Keep a transaction open on the target in which ``statement`` was executed, and roll it back at the end."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


def digest_of(run: MigrationRun) -> str:
    """The digest of the run's plan."""
    assert run.plan is not None, run.sentence
    return run.plan.digest


def start(place: people.Place, run: MigrationRun) -> MigrationRun:
    """Let the operator press Run now."""
    return runs.start(actor=place.actor("operator"), number=run.number, digest=digest_of(run), confirm=run.target.label)


def phase_of(run: MigrationRun) -> str:
    """Where the run is now."""
    run.refresh_from_db()
    return run.phase


def state_of(run: MigrationRun) -> str:
    """What the run is now."""
    run.refresh_from_db()
    return run.state


def facts_of(run: MigrationRun, action: str) -> dict[str, Any]:
    """What the newest event of this kind says about the run."""
    event = AuditEvent.objects.filter(object_kind="run", object_id=str(run.number), action=action).latest("seq")
    facts: dict[str, Any] = event.facts["facts"]
    return facts


def as_admin(url: str) -> str:
    """The same database, by the superuser of the test's server."""
    return servers.TargetServer(os.environ[servers.TARGET]).url(urlsplit(url).path[1:])


def netloc(url: str, port: int) -> str:
    """User, password and host of ``url`` with another port."""
    return f"{urlsplit(url).netloc.rpartition(':')[0]}:{port}"


def waits_for(url: str, event: str) -> bool:
    """Whether a session of the server waits for this."""
    return ask(url, f"SELECT count(*) FROM pg_stat_activity WHERE wait_event = '{event}'") != "0"


def of_run(number: int) -> list[str]:
    """The actions that the chain tells about a run, in their order."""
    events = AuditEvent.objects.filter(object_kind="run", object_id=str(number))
    return list(events.order_by("seq").values_list("action", flat=True))


def pool_process(run: MigrationRun) -> int:
    """The process id of the worker's pool process that has the run."""
    run.refresh_from_db()
    return int(run.worker.rpartition("/")[2])


def runner_of(run: MigrationRun) -> int:
    """The process id of the runner, or of what keeps it apart: the only child of the pool process."""
    (child,) = children_of(pool_process(run))
    return child


def children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def kill_pool_process(run: MigrationRun) -> None:
    """SIGKILL the process of the worker that has the run, as the system's killer of memory hogs would."""
    os.kill(pool_process(run), signal.SIGKILL)


def assert_nothing_lost(portal: Portal, *urls: str) -> None:
    """The assertion that is common to all faults. ``urls``: targets with a counted revision, executed once at most."""
    for url in urls:
        assert executions(url) <= 1, "The revision was executed twice."
        _assert_no_secret(portal.workers.said(), url)
    links = (event.as_link() for event in AuditEvent.objects.order_by("seq"))
    verified = hashchain.verify(links)
    assert verified.holds, verified.reason
    over = database_now() - LATE
    running = MigrationRun.objects.filter(state=RunState.RUNNING.value)
    assert not running.filter(lease_expires_at__lte=over).exists()
    assert not running.filter(lease_expires_at__isnull=True).exists()
    _assert_each_executed_once(MigrationRun.objects.values_list("number", flat=True))
    for run in MigrationRun.objects.filter(verdict=Verdict.VERIFIED.value):
        read = run.verified_by
        assert read is not None
        assert (read.run_id, read.revisions is None) == (run.number, False)


def _assert_each_executed_once(numbers: Iterable[int]) -> None:
    for number in numbers:
        told = of_run(number)
        assert told.count("run.claimed") <= 1, f"Run {number} was claimed twice: {told}"
        assert told.count("run.applied") + told.count("run.failed") + told.count("run.error") <= 1, told


def _assert_no_secret(said: str, url: str) -> None:
    password = urlsplit(url).password
    assert password
    assert password not in said
