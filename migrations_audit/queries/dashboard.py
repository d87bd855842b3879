"""The first page: every target with what was last read of it, what needs attention, and what waits for one person.

The number of queries does not depend on the number of targets.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Subquery

from migrations_audit.models import Environment, MigrationRun, Notice, Observation, Project, Target
from migrations_audit.models.evidence import StatusChoice
from migrations_audit.queries import attention, runs, second_person, standing, waiting, workers

MOST_OPEN_RUNS = 500
MOST_NOTICES = 50


@dataclass(frozen=True)
class Cell:
    """One target: what was last read, its newest attempt, and the runs that are under way."""

    target: Target
    standing: standing.Standing
    last_attempt: MigrationRun | None
    open_runs: Sequence[MigrationRun]


@dataclass(frozen=True)
class Row:
    """One project; ``cells`` holds one list of targets for each environment of the page."""

    project: Project
    cells: Sequence[tuple[Environment, Sequence[Cell]]]


@dataclass(frozen=True)
class Dashboard:
    environments: Sequence[Environment]
    rows: Sequence[Row]
    attention: Sequence[attention.Item]
    notices: Sequence[Notice]
    proposals: Sequence[second_person.Open]
    waiting: waiting.WaitingForMe
    counts: Sequence[tuple[str, str, int]]
    """Kind, words and number of targets, in the order of ``TargetStatus``."""

    @property
    def behind(self) -> int:
        """How many targets lack revisions that their scripts have, which is usual before production."""
        return sum(number for kind, _, number in self.counts if kind in attention.EXPECTED_BEFORE_PRODUCTION)

    @property
    def targets(self) -> int:
        return sum(number for _, _, number in self.counts)


def dashboard(*, user_id: int | None, now: datetime) -> Dashboard:
    """Everything that the first page shows to one person."""
    environments = list(Environment.objects.visible_to(user_id))
    cells = _cells(user_id, now)
    open_runs = [run for cell in cells for run in cell.open_runs]
    heard = workers.heard_queues(now=now)
    unreviewed, proposals = _unreviewed(user_id), second_person.open_for(user_id)
    items = [
        *attention.of_targets((cell.target, cell.standing, cell.last_attempt) for cell in cells),
        *attention.of_runs(open_runs, now=now, heard_queues=heard),
        *attention.of_broken_glass(unreviewed),
    ]
    return Dashboard(
        environments=environments,
        rows=_rows(environments, cells),
        attention=attention.worst_first(items),
        notices=_notices(user_id),
        proposals=proposals,
        waiting=waiting.of_person(user_id, open_runs=open_runs, unreviewed=unreviewed, proposals=proposals, now=now),
        counts=_counts(cells),
    )


def _unreviewed(user_id: int | None) -> list[MigrationRun]:
    found = MigrationRun.objects.visible_to(user_id).filter(broke_glass_at__isnull=False, glass_review__isnull=True)
    return list(found.select_related("target__project", "target__environment")[:MOST_NOTICES])


def _notices(user_id: int | None) -> list[Notice]:
    """What the person was told and has not acknowledged, newest first."""
    return list(Notice.objects.filter(person_id=user_id or 0, acknowledged_at__isnull=True)[:MOST_NOTICES])


def _counts(cells: Sequence[Cell]) -> list[tuple[str, str, int]]:
    found = Counter(cell.standing.kind for cell in cells)
    words = {**dict(StatusChoice.choices), standing.STALE: "stale", standing.NEVER_READ: "never read"}
    return [(kind, str(label), found[kind]) for kind, label in words.items() if found[kind]]


def _cells(user_id: int | None, now: datetime) -> list[Cell]:
    visible = Target.objects.visible_to(user_id)
    of_target = {"target": OuterRef("pk")}
    observed = Observation.objects.filter(**of_target).order_by("-at", "-id").values("pk")[:1]
    attempted = MigrationRun.objects.filter(**of_target, started_at__isnull=False).order_by("-number").values("pk")[:1]
    newest = {pk: found for pk, *found in visible.values_list("pk", Subquery(observed), Subquery(attempted))}
    observations = Observation.objects.defer("facts", "identity").in_bulk([found[0] for found in newest.values()])
    attempts = MigrationRun.objects.in_bulk([found[1] for found in newest.values()])
    open_runs = _open_runs(user_id)
    cells = []
    for each in visible.select_related("project", "environment"):
        observation, attempt = newest.get(each.pk, (None, None))
        cells.append(
            Cell(
                target=each,
                standing=standing.standing_of(observations.get(observation), now=now, environment=each.environment),
                last_attempt=attempts.get(attempt),
                open_runs=open_runs.get(each.pk, ()),
            )
        )
    return cells


def _open_runs(user_id: int | None) -> Mapping[int, Sequence[MigrationRun]]:
    found = MigrationRun.objects.visible_to(user_id).open().order_by("number")
    related = ("target__project", "target__environment", "plan")
    found = found.select_related(*related).defer(*(name for name in runs.HEAVY if name != "plan__options"))
    by_target: dict[int, list[MigrationRun]] = defaultdict(list)
    for run in found[:MOST_OPEN_RUNS]:
        by_target[run.target_id].append(run)
    return by_target


def _rows(environments: Sequence[Environment], cells: Iterable[Cell]) -> list[Row]:
    by_project: dict[int, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    projects: dict[int, Project] = {}
    for cell in cells:
        projects.setdefault(cell.target.project_id, cell.target.project)
        by_project[cell.target.project_id][cell.target.environment_id].append(cell)
    return [
        Row(project, [(environment, by_project[key].get(environment.pk, [])) for environment in environments])
        for key, project in projects.items()
    ]
