"""Whether what a run would do was verified in an earlier environment, where the policy asks for that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from django.db.models import Q

from migrations_audit import lineage
from migrations_audit.models import Environment, MigrationRun, Plan, Snapshot, Target
from migrations_audit.states import Operation, RunState, Verdict


def lacking(run: MigrationRun) -> str:
    """Why the run cannot be approved yet, in words that say what to do; empty when nothing is lacking."""
    environment = lacking_in([run]).get(run.number)
    return "" if environment is None or run.plan is None else _sentence(run, run.plan, environment)


def lacking_in(runs: Iterable[MigrationRun]) -> Mapping[int, Environment]:
    """Those of the runs that cannot be approved yet, each with the environment in which its scripts must be verified first.

    An upgrade needs a verified upgrade of the same project in the environment that the policy names, from the same snapshot
    and to at least the same revisions. It holds of today's policy and of the one frozen in the plan. What goes back, and what
    is adopted, is not held up: it has no earlier environment to prove itself in.
    """
    wanted = _wanted(runs)
    if not wanted:
        return {}
    snapshots = {plan.snapshot_id for _, plan, _ in wanted}
    graphs = dict(Snapshot.objects.filter(pk__in=snapshots).values_list("pk", "graph"))
    ends = _verified_ends(snapshots)
    found: dict[int, Environment] = {}
    for run, plan, environment in wanted:
        reached = ends[run.target.project_id, environment.pk, plan.snapshot_id]
        if not any(set(plan.to_revisions) <= {*lineage.closure(rows, graphs[plan.snapshot_id])} for rows in reached):
            found.setdefault(run.number, environment)
    return found


def _wanted(runs: Iterable[MigrationRun]) -> list[tuple[MigrationRun, Plan, Environment]]:
    """Where each upgrade must have been verified: in the environment of today's policy, and of the one at planning."""
    upgrades = [(run, run.plan) for run in runs if run.plan is not None and run.operation == Operation.UPGRADE.value]
    now = {run.target.environment.requires_verified_in_id for run, _ in upgrades} - {None}
    then = {plan.options.get("requires_verified_in", "") for _, plan in upgrades} - {""}
    if not now | then:
        return []
    environments = list(Environment.objects.filter(Q(pk__in=now) | Q(slug__in=then)))
    return [
        (run, plan, each)
        for run, plan in upgrades
        for each in environments
        if each.pk == run.target.environment.requires_verified_in_id
        or each.slug == plan.options.get("requires_verified_in", "")
    ]


def _verified_ends(snapshots: Collection[int]) -> Mapping[tuple[int, int, int], Sequence[list[str]]]:
    """Where verified upgrades from these snapshots ended, by project, environment and snapshot."""
    rows = MigrationRun.objects.filter(
        operation=Operation.UPGRADE.value,
        state=RunState.APPLIED.value,
        verdict=Verdict.VERIFIED.value,
        plan__snapshot__in=snapshots,
    ).order_by()
    found: dict[tuple[int, int, int], list[list[str]]] = defaultdict(list)
    fields = ("target__project_id", "target__environment_id", "plan__snapshot_id", "plan__to_revisions")
    for project, environment, snapshot, ended in rows.values_list(*fields).distinct():
        found[project, environment, snapshot].append(ended)
    return found


def _sentence(run: MigrationRun, plan: Plan, environment: Environment) -> str:
    project = run.target.project
    if not Target.objects.filter(project=project, environment=environment).exists():
        return (
            f"{run.target.environment.name} asks that scripts were verified in {environment.name} first, and "
            f"{project.slug} has no "
            f"target there. Register one, or have the policy of {run.target.environment.name} changed."
        )
    rows = ", ".join(plan.to_revisions) or "base"
    return (
        f"{run.target.environment.name} asks that scripts were verified in {environment.name} first, and no upgrade of "
        f"{project.slug} to {rows} from snapshot {plan.parts['scripts'][:12]} was verified there. Run it there, then come back."
    )
