"""How long a run should take: as long as the same revisions took elsewhere, else as long as on a copy of small tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef
from django.template.defaultfilters import filesizeformat

from migrations_audit.models import MigrationRun, Plan, Rehearsal, RunStep
from migrations_audit.states import RunState, StepState, Verdict

PATIENCE = 1.5
"""How many times the expected duration may pass before the page says that it is longer than expected."""
AROUND_MS = 5_000
"""Connecting, reading and judging are no part of any revision."""
NEWEST = 20
"""So many runs of the same revisions are looked at."""


SMALL_BYTES = 1_048_576
"""What a copy without data says of time holds for tables up to this size."""


@dataclass(frozen=True)
class Expected:
    """``ms`` of all revisions together. ``source`` says where that is known from.

    ``is_of_copy_only``: that is all that an empty copy can say, and too little for the tables of the target.
    """

    ms: int
    source: str
    is_of_copy_only: bool = False

    def is_exceeded(self, run: MigrationRun, *, now: datetime) -> bool:
        """Whether a run that runs has taken clearly longer than expected."""
        if self.is_of_copy_only:
            return False
        if run.run_state is not RunState.RUNNING or run.started_at is None:
            return False
        return (now - run.started_at).total_seconds() * 1_000 > self.ms * PATIENCE + AROUND_MS


def expected(run: MigrationRun, rehearsal: Rehearsal | None, *, user_id: int | None) -> Expected | None:
    """What is known of a plan's duration: from verified runs of the project with exactly these files, else from the rehearsal.

    Of the runs only those count that this person may see, and the newest.
    """
    plan = run.plan
    if plan is None or not plan.steps:
        return None
    known = _elsewhere(run, plan, user_id)
    if len(known) == len(plan.steps):
        names = sorted({label for _, label in known.values()})
        return Expected(sum(ms for ms, _ in known.values()), f"as long as on {', '.join(names)}")
    if rehearsal is not None and rehearsal.has_passed:
        ms = sum(step["ms"] for step in rehearsal.steps)
        if unknown := _unknown_on(rehearsal):
            return Expected(ms, unknown, is_of_copy_only=True)
        return Expected(ms, "as long as on a copy without data; tables with rows take longer")
    return None


def _unknown_on(rehearsal: Rehearsal) -> str:
    """What an empty copy cannot say of the target's tables; empty where those that the plan touches are small."""
    if rehearsal.impact.get("problem"):
        return "nothing is known about the sizes of the target's tables"
    relations = rehearsal.impact.get("relations", ())
    large = [each for each in relations if (each["bytes"] or 0) > SMALL_BYTES]
    if not large:
        locked = [each["name"].removeprefix("public.") for each in relations if each["bytes"] is None]
        return f"nothing is known about the size of {locked[0]}, which could not be measured" if locked else ""
    largest = max(large, key=lambda each: each["bytes"])
    name = largest["name"].removeprefix("public.")
    return f"nothing is known about this much data ({name}: {filesizeformat(largest['bytes'])})"


def _elsewhere(run: MigrationRun, plan: Plan, user_id: int | None) -> dict[str, tuple[int, str]]:
    """By revision, the newest duration in a verified run of the same project, where the file was the same."""
    wanted = _files(plan)
    steps = RunStep.objects.filter(
        state=StepState.COMMITTED.value, duration_ms__isnull=False, revision__in=[revision for revision, _ in wanted]
    )
    others = (
        MigrationRun.objects.visible_to(user_id)
        .filter(
            Exists(steps.filter(run=OuterRef("pk"))),
            target__project=run.target.project_id,
            verdict=Verdict.VERIFIED.value,
            plan__isnull=False,
        )
        .exclude(pk=run.pk)
        .select_related("plan", "target__project", "target__environment")
        .only("plan__steps", "target__slug", "target__project__slug", "target__environment__slug")
        .order_by("-number")[:NEWEST]
    )
    read = {other.number: (_files(other.plan), other.target.label) for other in others if other.plan is not None}
    known = {}
    rows = steps.filter(run__in=read).order_by("run_id").values_list("run_id", "revision", "direction", "duration_ms")
    for number, revision, direction, ms in rows:
        files, label = read[number]
        step = (revision, direction)
        if ms is not None and step in wanted and files.get(step) == wanted[step]:
            known[revision] = (ms, label)
    return known


def _files(plan: Plan) -> dict[tuple[str, str], str]:
    return {(step["revision"], step["direction"]): step["sha256"] for step in plan.steps}
