"""Adopt: a database that nobody's Alembic made is noted at a revision. No revision is executed, so its catalog is compared.

The comparison is with another target of the same project that was read at that revision. Who approves sees the differences
before, and the evidence names them afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from migrations_audit import listing
from migrations_audit.engine import catalog, types
from migrations_audit.engine.findings import finding
from migrations_audit.errors import PortalError
from migrations_audit.models import MigrationRun, Observation, Project

NAMED: Final = 8


class NothingToAdopt(PortalError):
    """The database holds no tables: plan an upgrade from base instead."""

    code = "nothing_to_adopt"


def check(run: MigrationRun, reading: types.Reading) -> None:
    """Raise NothingToAdopt for a database without tables beside the version table."""
    tables = [key for key in reading.catalog.body if key.startswith("table ")]
    if not [key for key in tables if not _is_of_version_table(key, run.target.project)]:
        raise NothingToAdopt(
            f"{run.target} holds no tables. Adopting is for a database that has them: plan an upgrade."
        )


def findings(run: MigrationRun, reading: types.Reading, result: Sequence[str]) -> list[finding.Finding]:
    """What an approver has to know: which revisions count as applied afterwards, and how the catalog compares."""
    rows = ", ".join(sorted(result))
    place = run.target.label
    sentence = f"Nothing is executed. {run.target} is noted at {rows}, and Alembic will never execute what leads there."
    told = [finding.of("adopts", place, sentence)]
    reference = reference_of(run, result)
    if reference is None or reference.catalog is None:
        sentence = (
            f"No other target of this project was read at {rows}, so there is nothing to compare the catalog with."
        )
        return [*told, finding.of("adopts_unseen", place, sentence)]
    seen = f"{reference.target.told_at(run.target)}, read at {reference.at:%Y-%m-%d %H:%M} UTC"
    differences = compare(run, reference, reading.catalog)
    if not differences:
        sentence = f"The catalog equals that of {seen}."
        return [*told, finding.of("adopts_same", place, sentence)]
    sentence = f"The catalog differs from that of {seen}: {listing.listed(differences, NAMED, between='; ')}."
    return [*told, finding.of("adopts_different", place, sentence)]


def reference_of(run: MigrationRun, result: Sequence[str]) -> Observation | None:
    """The last reading of another target of the project at exactly these rows, with its catalog."""
    seen = Observation.objects.filter(
        target__project=run.target.project, revisions=sorted(result), catalog__isnull=False, facts__kinds=catalog.KINDS
    ).exclude(target=run.target)
    return seen.select_related("catalog", "target__project", "target__environment").order_by("-at").first()


def compare(run: MigrationRun, reference: Observation, found: types.Catalog) -> tuple[str, ...]:
    """How the catalog differs from the reference, object by object, the version table left out."""
    if reference.catalog is None:
        return ()
    changes = catalog.diff(reference.catalog.body, found)
    return tuple(catalog.readable(others(changes, run.target.project)))


def others(changes: Sequence[types.Change], project: Project) -> tuple[types.Change, ...]:
    """The changes that are not about the version table."""
    return tuple(change for change in changes if not _is_of_version_table(change.key, project))


def _is_of_version_table(key: str, project: Project) -> bool:
    name = key.partition(" ")[2]
    schema = project.version_table_schema or "public"
    return name.startswith((f"{schema}.{project.version_table}.", f"{schema}.{project.version_table}_pk")) or name == (
        f"{schema}.{project.version_table}"
    )
