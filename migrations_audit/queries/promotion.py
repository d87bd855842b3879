"""Whether what a run would do was verified in an earlier environment, where the policy asks for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from migrations_audit.models import Environment, MigrationRun, Plan, Snapshot, Target
from migrations_audit.states import Operation, RunState, Verdict


def lacking(run: MigrationRun) -> str:
    """Why the run cannot be approved yet, in words that say what to do; empty when nothing is lacking.

    An upgrade needs a verified upgrade of the same project in the environment that the policy names, from the same
    snapshot and to
    at least the same revisions. It holds of today's policy and of the one frozen in the plan. What goes back, and
    what is adopted,
    is not held up: it has no earlier environment to prove itself in.
    """
    if run.plan is None or run.operation != Operation.UPGRADE.value:
        return ""
    wanted = _wanted(run, run.plan)
    if not wanted:
        return ""
    graph = Snapshot.objects.filter(pk=run.plan.snapshot_id).values_list("graph", flat=True).get()
    for environment in wanted:
        ends = _verified_ends(run, run.plan, environment)
        if not any(set(run.plan.to_revisions) <= _with_ancestors(rows, graph) for rows in ends):
            return _sentence(run, run.plan, environment)
    return ""


def _wanted(run: MigrationRun, plan: Plan) -> list[Environment]:
    """The environments in which it must have been verified: today's, and the one that the plan was made under."""
    now = run.target.environment.requires_verified_in
    then = plan.options.get("requires_verified_in", "")
    found = [now] if now is not None else []
    if then and (now is None or now.slug != then):
        found += Environment.objects.filter(slug=then)
    return found


def _verified_ends(run: MigrationRun, plan: Plan, environment: Environment) -> Iterable[list[str]]:
    """Where the verified upgrades of the same project and snapshot ended there."""
    return MigrationRun.objects.filter(
        target__project_id=run.target.project_id,
        target__environment=environment,
        operation=Operation.UPGRADE.value,
        state=RunState.APPLIED.value,
        verdict=Verdict.VERIFIED.value,
        plan__snapshot_id=plan.snapshot_id,
    ).values_list("plan__to_revisions", flat=True)


def _with_ancestors(rows: Iterable[str], graph: Mapping[str, Any]) -> set[str]:
    parents = {
        item["revision"]: [*item["down_revisions"], *item.get("depends_on", ())] for item in graph.get("revisions", ())
    }
    found: set[str] = set()
    ahead = list(rows)
    while ahead:
        revision = ahead.pop()
        if revision not in found:
            found.add(revision)
            ahead += parents.get(revision, [])
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
