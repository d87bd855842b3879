"""Revisions whose file is another one than an earlier verified run executed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from migrations_audit import listing
from migrations_audit.engine import types
from migrations_audit.engine.findings import finding
from migrations_audit.models import MigrationRun, Project
from migrations_audit.states import Operation, RunState, Verdict

MOST_RUNS: Final = 1_000
MOST_NAMED: Final = 3


def findings(project: Project, revisions: Iterable[types.Revision]) -> list[finding.Finding]:
    """One finding for each revision of the project that a verified upgrade executed from another file, newest run first."""
    executed = _executed(project)
    return [
        finding.of("edited_after_applied", item.path, _sentence(item, others))
        for item in revisions
        if (others := [seen for digest, seen in executed.get(item.revision, []) if digest != item.sha256])
    ]


def _executed(project: Project) -> dict[str, list[tuple[str, str]]]:
    """By revision: the digest of the file, and where it was executed."""
    runs = MigrationRun.objects.filter(
        target__project=project,
        state=RunState.APPLIED.value,
        verdict=Verdict.VERIFIED.value,
        operation=Operation.UPGRADE.value,
        plan__isnull=False,
    ).order_by("-finished_at")
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    names = ("number", "plan__steps", "target__environment__slug", "target__slug")
    for number, steps, environment, slug in runs.values_list(*names)[:MOST_RUNS]:
        for step in steps:
            found[step["revision"]].append((step["sha256"], f"{project.slug}/{environment}/{slug} (run {number})"))
    return found


def _sentence(item: types.Revision, others: list[str]) -> str:
    where = listing.listed(others, MOST_NAMED)
    return f"The file of {item.revision} ({item.sha256[:12]}) is not the one that was executed on {where}."
