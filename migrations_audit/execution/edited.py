"""Revisions whose file is another one than an earlier verified run executed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from migrations_audit import listing
from migrations_audit.engine import types
from migrations_audit.engine.findings import finding
from migrations_audit.models import MigrationRun, Target
from migrations_audit.states import Operation, RunState, Verdict

MOST_RUNS: Final = 1_000
MOST_NAMED: Final = 3


def findings(target: Target, revisions: Iterable[types.Revision]) -> list[finding.Finding]:
    """One finding for each revision of the project that a verified upgrade executed from another file, newest run first.

    Whoever reads it may see the target, and perhaps no other environment: of those nothing is named.
    """
    executed = _executed(target)
    return [
        finding.of("edited_after_applied", item.path, _sentence(item, others))
        for item in revisions
        if (others := [seen for digest, seen in executed.get(item.revision, []) if digest != item.sha256])
    ]


def _executed(target: Target) -> dict[str, list[tuple[str, str]]]:
    """By revision: the digest of the file, and where it was executed."""
    runs = MigrationRun.objects.filter(
        target__project=target.project_id,
        state=RunState.APPLIED.value,
        verdict=Verdict.VERIFIED.value,
        operation=Operation.UPGRADE.value,
        plan__isnull=False,
    ).order_by("-finished_at")
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    names = ("number", "plan__steps", "target__slug", "target__project__slug", "target__environment__slug")
    for run in runs.select_related("plan", "target__project", "target__environment").only(*names)[:MOST_RUNS]:
        where = run.target.told_at(target)
        where += f" (run {run.number})" if run.target.environment_id == target.environment_id else ""
        for step in run.plan.steps if run.plan is not None else ():
            found[step["revision"]].append((step["sha256"], where))
    return found


def _sentence(item: types.Revision, others: list[str]) -> str:
    where = listing.listed(dict.fromkeys(others), MOST_NAMED)
    return f"The file of {item.revision} ({item.sha256[:12]}) is not the one that was executed on {where}."
