"""How long a run should take: as long as the same revisions took elsewhere, else as long as on a copy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from migrations_audit.models import MigrationRun, Plan, Rehearsal, RunStep
from migrations_audit.states import RunState, StepState, Verdict

PATIENCE = 1.5
"""How many times the expected duration may pass before the page says that it is longer than expected."""
AROUND_MS = 5_000
"""Connecting, reading and judging are no part of any revision."""


@dataclass(frozen=True)
class Expected:
    """``ms`` of all revisions together. ``source`` says where that is known from."""

    ms: int
    source: str

    def is_exceeded(self, run: MigrationRun, *, now: datetime) -> bool:
        """Whether a run that runs has taken clearly longer than expected."""
        if run.run_state is not RunState.RUNNING or run.started_at is None:
            return False
        return (now - run.started_at).total_seconds() * 1_000 > self.ms * PATIENCE + AROUND_MS


def expected(run: MigrationRun, rehearsal: Rehearsal | None) -> Expected | None:
    """What is known of a plan's duration: from verified runs of the project with exactly these files, else from the rehearsal."""
    plan = run.plan
    if plan is None or not plan.steps:
        return None
    known = _elsewhere(run, plan)
    if len(known) == len(plan.steps):
        names = sorted({label for _, label in known.values()})
        return Expected(sum(ms for ms, _ in known.values()), f"as long as on {', '.join(names)}")
    if rehearsal is not None and rehearsal.has_passed:
        ms = sum(step["ms"] for step in rehearsal.steps)
        return Expected(ms, "as long as on a copy without data; tables with rows take longer")
    return None


def _elsewhere(run: MigrationRun, plan: Plan) -> dict[str, tuple[int, str]]:
    """By revision, the newest duration in a verified run of the same project, where the file was the same."""
    rows = (
        RunStep.objects.filter(
            run__target__project=run.target.project_id,
            run__verdict=Verdict.VERIFIED.value,
            state=StepState.COMMITTED.value,
            duration_ms__isnull=False,
            revision__in=[step["revision"] for step in plan.steps],
        )
        .exclude(run=run)
        .select_related("run__plan", "run__target__project", "run__target__environment")
        .defer("run__plan__sql", "run__plan__body")
        .order_by("run_id")
    )
    wanted = {(step["revision"], step["direction"]): step["sha256"] for step in plan.steps}
    known = {}
    for row in rows:
        step = row.run.plan.step_for(row.revision) if row.run.plan else None
        same = step is not None and wanted.get((row.revision, row.direction)) == step["sha256"]
        if same and row.duration_ms is not None:
            known[row.revision] = (row.duration_ms, row.run.target.label)
    return known
