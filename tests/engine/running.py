"""How tests of the runner make a request, run it, and look at what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from migrations_audit.engine import launch, process, protocol, types
from migrations_audit.states import Isolation, UrlDelivery

LOCK_KEY = (1_330_667_091, -7)
TAG = "opsportal/test/1/1"
OURS = f"application_name = '{TAG}' AND datname = current_database()"
PLAIN = launch.Confinement(Isolation.NONE)
LIMITS = types.RunLimits(lock_timeout_ms=4_000, statement_timeout_ms=90_000, lock_budget_s=5, deadline_s=120)


@dataclass
class Outcome:
    """What one run told and how it ended."""

    events: list[dict[str, Any]] = field(default_factory=list)
    printed: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    exit: types.RunnerExit = field(init=False)

    def note(self, stream: str, text: str) -> None:
        self.printed[stream] += text

    def names(self, *of: str) -> list[str]:
        return [event["event"] for event in self.events if not of or event["event"] in of]

    def all(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    def one(self, name: str) -> dict[str, Any]:
        (event,) = self.all(name)
        return event

    @property
    def refusal(self) -> str:
        return str(self.one("refused")["code"])


@dataclass(frozen=True)
class Target:
    """A target database of the test, by its libpq URL."""

    url: str

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def tables(self) -> set[str]:
        found = self.rows(
            "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return {row[0] for row in found}

    def revisions(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT version_num FROM alembic_version ORDER BY 1")]

    def ours(self) -> list[tuple[Any, ...]]:
        return self.rows(f"SELECT pid, query FROM pg_stat_activity WHERE {OURS}")

    def cancel_ours(self) -> None:
        self.rows(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {OURS}")

    def sqlalchemy_url(self, driver: str) -> str:
        return f"postgresql+{driver}://{self.url.split('://', 1)[1]}"

    def connection(self) -> protocol.Connection:
        given = conninfo_to_dict(self.url)
        return protocol.Connection(
            host=str(given["host"]),
            port=int(str(given["port"])),
            database=str(given["dbname"]),
            user=str(given["user"]),
            password=str(given["password"]),
        )

    def expected(self) -> protocol.Expected:
        ((system, oid, name),) = self.rows(
            "SELECT (SELECT system_identifier::text FROM pg_control_system()), oid::bigint, datname FROM pg_database"
            " WHERE datname = current_database()"
        )
        return protocol.Expected(system_identifier=system, database_oid=oid, database=name)


def upgrade_request(target: Target, *revisions: str, driver: str = "psycopg", **changes: Any) -> protocol.RunnerRequest:
    """A request for an upgrade from base through ``revisions``."""
    request = protocol.RunnerRequest(
        mode="upgrade",
        config_path="alembic.ini",
        ini_section="alembic",
        url=target.sqlalchemy_url(driver),
        url_delivery=UrlDelivery.SQLALCHEMY_URL,
        url_delivery_name="sqlalchemy.url",
        connection=target.connection(),
        expected=target.expected(),
        application_name=TAG,
        lock_key=LOCK_KEY,
        lock_budget_s=LIMITS.lock_budget_s,
        lock_timeout_ms=LIMITS.lock_timeout_ms,
        statement_timeout_ms=LIMITS.statement_timeout_ms,
        idle_in_transaction_timeout_ms=61_000,
        client_connection_check_interval_ms=1_000,
        start=(),
        destination=revisions[-1:],
        steps=tuple((revision, "upgrade") for revision in revisions),
    )
    return replace(request, **changes)


def run(
    request: protocol.RunnerRequest,
    folder: Path,
    *,
    interpreter: str = sys.executable,
    confinement: launch.Confinement = PLAIN,
    limits: types.RunLimits = LIMITS,
    may_go: Callable[[], bool] = lambda: True,
    stop: Callable[[Outcome], str | None] = lambda _: None,
    interrupt: Callable[[], None] = lambda: None,
    on_event: Sequence[Callable[[dict[str, Any]], None]] = (),
) -> Outcome:
    """Run to the end and return what was told. ``stop`` may decide by what has been told so far."""
    outcome = Outcome()

    def note(event: dict[str, Any]) -> None:
        outcome.events.append(event)
        for callback in on_event:
            callback(event)

    outcome.exit = process.run(
        request=request,
        interpreter=interpreter,
        confinement=confinement,
        snapshot=folder,
        folder=folder,
        limits=limits,
        on_event=note,
        on_output=outcome.note,
        may_go=may_go,
        stop=lambda: stop(outcome),
        interrupt=interrupt,
    )
    return outcome
