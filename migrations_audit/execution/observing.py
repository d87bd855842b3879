"""Look at a target: resolve its URL, read it, compare it with what is enrolled and with the scripts, and store what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrations_audit.actions import evidence
from migrations_audit.actors import Actor, worker
from migrations_audit.engine import standing, target, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import places
from migrations_audit.models import MigrationRun, Observation, Target
from migrations_audit.states import TargetStatus


@dataclass(frozen=True)
class Look:
    """One stored observation with what it came from. ``reading`` is None when nothing could be read."""

    observation: Observation
    url: TargetUrl | None
    reading: types.Reading | None
    scripts: places.Scripts | None
    differences: tuple[str, ...] = ()


def observe_target(*, target_id: int, worker_name: str) -> Observation:
    """Check one target now."""
    found = Target.objects.select_related("project", "environment").get(pk=target_id)
    return look(found, actor=worker(worker_name), purpose="check").observation


def look(
    subject: Target,
    *,
    actor: Actor,
    purpose: str,
    run: MigrationRun | None = None,
    scripts: places.Scripts | None = None,
) -> Look:
    """Read ``subject`` on a fresh connection and store the observation, whatever comes of it.

    ``scripts`` spares freezing the project's folder when the caller has them; after a run it is the approved snapshot.
    """
    problem = ""
    if scripts is None:
        try:
            scripts = places.scripts_of(subject.project, actor=actor)
        except PortalError as error:
            problem = error.message
    url, reading, differences, read = _read(subject, scripts, problem)
    observation = evidence.record_observation(
        actor=actor,
        target=subject,
        purpose=purpose,
        read=read,
        snapshot=scripts.snapshot if scripts else None,
        run=run,
    )
    return Look(observation, url, reading, scripts, differences)


def _read(
    subject: Target, scripts: places.Scripts | None, problem: str
) -> tuple[TargetUrl | None, types.Reading | None, tuple[str, ...], evidence.Read]:
    url: TargetUrl | None = None
    try:
        url = places.url_of(subject)
        reading = target.read(
            url,
            version_table=subject.project.version_table,
            version_schema=subject.project.version_table_schema,
            application_name=places.OBSERVER,
        )
    except PortalError as error:
        return url, None, (), evidence.Read(_unread_status(error), error.message, error_code=error.code)
    known = _known(reading)
    if subject.identity is not None:
        check = target.compare_identity(types.Identity.from_dict(subject.identity), reading.identity)
        known["facts"]["remarks"] = list(check.remarks)
        if not check.matches:
            sentence = f"Another database answers for {subject}: {' '.join(check.differences)} Nothing is run there."
            return url, reading, check.differences, evidence.Read(TargetStatus.WRONG_DATABASE, sentence, **known)
    return url, reading, (), _stand(subject, scripts, problem, reading, known)


def _unread_status(error: PortalError) -> TargetStatus:
    """Told apart: no server answered us, and one that could have been asked but not read (no URL, no right, no sane table)."""
    reached = not isinstance(error, target.CannotRead) or error.code in ("permission", "unreadable_version_table")
    return TargetStatus.UNREADABLE if reached else TargetStatus.UNREACHABLE


def _known(reading: types.Reading) -> dict[str, Any]:
    return {
        "identity": reading.identity.as_dict(),
        "revisions": reading.revisions,
        "catalog": (reading.catalog.fingerprint, reading.catalog.body),
        "facts": {
            "pooled": reading.pooled,
            "duration_ms": reading.duration_ms,
            "invalid_indexes": list(reading.catalog.invalid_indexes),
            "unvalidated_constraints": list(reading.catalog.unvalidated_constraints),
            "version_tables": list(reading.version_tables),
            "prepared_transactions": list(reading.prepared_transactions),
        },
    }


def _stand(
    subject: Target, scripts: places.Scripts | None, problem: str, reading: types.Reading, known: dict[str, Any]
) -> evidence.Read:
    if scripts is None:
        return evidence.Read(TargetStatus.UNREADABLE_SCRIPTS, problem, **known)
    if scripts.fatal is not None:
        return evidence.Read(TargetStatus.UNREADABLE_SCRIPTS, scripts.fatal.sentence, **known)
    rows = reading.revisions or ()
    ids = scripts.graph.by_id()
    other = None if all(row in ids for row in rows) else places.graph_that_knows(subject.project, rows)
    stands = standing.standing(scripts.graph, reading.revisions, other=other)
    pending = [{"revision": name, "message": ids[name].message} for name in stands.pending]
    return evidence.Read(stands.status, stands.sentence, heads=stands.heads, pending=pending, **known)
