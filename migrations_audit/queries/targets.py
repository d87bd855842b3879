"""The target page: what is known of one database, how it is known, and what can be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator

from migrations_audit.models import MigrationRun, Observation, Role, Target
from migrations_audit.queries import rights, rollbacks, runs, standing
from migrations_audit.states import TargetStatus

PAGE = 10


@dataclass(frozen=True)
class Choice:
    """A revision that a rollback may go back to."""

    revision: str
    message: str


@dataclass(frozen=True)
class TargetPage:
    """``read`` is the newest observation that reached the enrolled database; it may be older than the newest one."""

    target: Target
    standing: standing.Standing
    read: Observation | None
    live_run: MigrationRun | None
    runs: Page[MigrationRun]
    observations: Page[Observation]
    choices: Sequence[Choice]
    beginning: rollbacks.Beginning | None
    """Where the run began that somebody wants to roll back."""
    may_request: bool
    may_adopt: bool
    may_forget: bool
    is_copy: bool
    """Nothing is enrolled, and what answers carries the marker of another address: an administrator may say that it is meant."""

    @property
    def remarks(self) -> Sequence[str]:
        """What is worth knowing of the database that was read last, whichever it was."""
        newest = self.standing.observation
        return newest.facts.get("remarks", []) if newest is not None else []


def target_page(
    target: Target,
    *,
    user_id: int | None,
    now: datetime,
    runs_page: str = "1",
    observations_page: str = "1",
    rolls_back: int | None = None,
) -> TargetPage:
    """Everything that the page of ``target`` shows to one person who may see it. ``rolls_back`` is a run to prepare for."""
    held = rights.rights_of(user_id).get(target.environment_id, rights.Rights(user_id))
    observations = Observation.objects.filter(target=target)
    newest = observations.first()
    read = observations.counted().select_related("snapshot").defer("snapshot__archive").first()
    is_copy = target.identity is None and newest is not None and newest.may_be_meant
    choices = _choices(read)
    listed = MigrationRun.objects.filter(target=target).select_related("plan").defer(*runs.HEAVY)
    return TargetPage(
        target=target,
        standing=standing.standing_of(newest, now=now, environment=target.environment),
        read=read,
        live_run=MigrationRun.objects.live().filter(target=target).first(),
        runs=Paginator(listed, PAGE).get_page(runs_page),
        observations=Paginator(observations.select_related("run"), PAGE).get_page(observations_page),
        choices=choices,
        beginning=rollbacks.beginning_of(rolls_back, target=target, below=[each.revision for each in choices]),
        may_request=held.holds(Role.REQUESTER),
        may_adopt=held.holds(Role.REQUESTER) and _has_unnoted_tables(newest),
        may_forget=held.holds(Role.ADMINISTRATOR) and (target.identity is not None or is_copy),
        is_copy=is_copy,
    )


def _has_unnoted_tables(newest: Observation | None) -> bool:
    """Whether the database has tables and no revision is noted there: somebody made it without Alembic."""
    if newest is None or newest.status != TargetStatus.NOT_INITIALISED or newest.catalog is None:
        return False
    version_table = f".{newest.target.project.version_table}"
    return any(key.startswith("table ") and not key.endswith(version_table) for key in newest.catalog.body)


def below(graph: Mapping[str, Any], rows: Sequence[str]) -> list[Choice]:
    """The revisions under ``rows`` in a snapshot's graph, nearest first. Rows that the graph does not know have none."""
    known = {item["revision"]: item for item in graph.get("revisions", [])}
    found: dict[str, None] = {}
    level = [parent for row in rows if row in known for parent in known[row]["down_revisions"]]
    while level:
        found.update(dict.fromkeys(name for name in level if name not in found))
        level = [
            parent for name in level if name in known for parent in known[name]["down_revisions"] if parent not in found
        ]
    return [Choice(name, str(known[name].get("message", ""))) for name in found if name in known]


def _choices(read: Observation | None) -> list[Choice]:
    if read is None or read.snapshot is None or not read.revisions:
        return []
    return below(read.snapshot.graph, read.revisions)
