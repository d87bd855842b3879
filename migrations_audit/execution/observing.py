"""Look at a target: resolve its URL, read it, compare it with what is enrolled and with the scripts, and store what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from migrations_audit.actions import evidence
from migrations_audit.actors import Actor, worker
from migrations_audit.engine import catalog, dialects, marker, standing, target, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import history, marking, places
from migrations_audit.judgement import rows_text
from migrations_audit.models import MigrationRun, Observation, Target
from migrations_audit.states import TargetStatus

ASK_ANEW = ("plan", "preflight")
"""For these a git repository is asked in any case; a check takes what was found out a moment ago."""


@dataclass(frozen=True)
class Look:
    """One stored observation with what it came from. ``reading`` is None when nothing could be read that is true now."""

    observation: Observation
    url: TargetUrl | None
    reading: types.Reading | None
    scripts: places.Scripts | None
    differences: tuple[str, ...] = ()


def observe_target(*, target_id: int, worker_name: str) -> Observation:
    """Check one target now."""
    found = Target.objects.select_related("project", "environment").get(pk=target_id)
    return look(found, actor=worker(worker_name), purpose="check").observation


def is_comparable(observation: Observation) -> bool:
    """Whether its catalog holds the same kinds of objects as one that is read now."""
    return bool(observation.facts.get("kinds", "") == catalog.KINDS)


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
    problem: PortalError | None = None
    if scripts is None:
        try:
            scripts = places.scripts_of(subject.project, actor=actor, fresh=purpose in ASK_ANEW)
        except PortalError as error:
            problem = error
    before = history.last_reading(subject)
    url, reading, differences, read = _read(subject, scripts, problem, before)
    if scripts is not None and scripts.commit:
        read = replace(read, facts={**read.facts, "commit": dict(scripts.commit)})
    observation = evidence.record_observation(
        actor=actor,
        target=subject,
        purpose=purpose,
        read=read,
        snapshot=scripts.snapshot if scripts else None,
        run=run,
    )
    if url is not None and reading is not None:
        marking.leave(subject, actor=actor, url=url, reading=reading, observation=observation)
    return Look(observation, url, reading, scripts, differences)


def _read(
    subject: Target, scripts: places.Scripts | None, problem: PortalError | None, before: Observation | None
) -> tuple[TargetUrl | None, types.Reading | None, tuple[str, ...], evidence.Read]:
    url: TargetUrl | None = None
    try:
        url = places.url_of(subject)
        reading = dialects.read(
            url,
            version_table=subject.project.version_table,
            version_schema=subject.project.version_table_schema,
            application_name=places.OBSERVER,
        )
    except PortalError as error:
        return url, None, (), evidence.Read(_unread_status(error), error.message, error_code=error.code)
    known = _known(reading)
    check = _compare(subject, reading, before)
    told = marking.look(subject, reading, is_enrolled_one=check.matches)
    known["facts"]["marker"] = asdict(told.found) if told.found else None
    known["facts"]["remarks"] = [*_remarks(reading), *check.remarks, *told.remarks]
    if told.copy:
        differences = (*check.differences, told.copy)
        return (
            url,
            reading,
            differences,
            evidence.Read(TargetStatus.WRONG_DATABASE, told.copy, error_code="copy", **known),
        )
    if not check.matches:
        sentence = f"Another database answers for {subject}: {' '.join(check.differences)} Nothing is run there."
        return url, reading, check.differences, evidence.Read(TargetStatus.WRONG_DATABASE, sentence, **known)
    if reading.identity.in_recovery:
        return url, None, (), _standby(subject, reading, known)
    read = _stand(subject, scripts, problem, reading, known)
    return url, reading, (), _doubted(subject, scripts, reading, before, read)


def _compare(subject: Target, reading: types.Reading, before: Observation | None) -> target.IdentityCheck:
    if subject.identity is None:
        return target.IdentityCheck(matches=True, differences=(), remarks=())
    last = before.identity if before is not None and before.identity else {}
    return target.compare_identity(
        types.Identity.from_dict(subject.identity),
        reading.identity,
        last_timeline=last.get("timeline", 0),
        planned_timeline=history.planned_timeline(subject),
    )


def _remarks(reading: types.Reading) -> list[str]:
    if not reading.pooled:
        return []
    return [
        "A connection pooler answers at this address. It can be read so, but runs are refused: they need a direct address."
    ]


def _standby(subject: Target, reading: types.Reading, known: dict[str, Any]) -> evidence.Read:
    """A standby is never read for what is true now: it may lag behind its primary. Nor is it enrolled."""
    sentence = (
        f"A standby answers for {subject}. It only reads and may lag behind its primary, so that it shows "
        f"{rows_text(reading.revisions)} proves nothing. Point the URL reference at the primary."
    )
    shown = {"identity": known["identity"], "revisions": known["revisions"]}
    return evidence.Read(
        TargetStatus.UNREADABLE, sentence, error_code="standby", facts={**known["facts"], "standby": shown}
    )


def _doubted(
    subject: Target,
    scripts: places.Scripts | None,
    reading: types.Reading,
    before: Observation | None,
    read: evidence.Read,
) -> evidence.Read:
    """The same, unless the version went back or tables are absent that belong to it: that comes first, and is never green."""
    back = history.went_back(subject, before, reading, scripts)
    found = [each for each in (back, history.missing_objects(subject, reading, scripts)) if each is not None]
    if not found:
        return read
    facts = dict(read.facts)
    for each in found:
        facts |= each.facts
    return replace(
        read,
        status=TargetStatus.REGRESSED if back else TargetStatus.TABLES_MISSING,
        error_code=found[0].code,
        sentence=" ".join([*(each.sentence for each in found), f"Against the scripts: {read.sentence}"]),
        facts=facts,
    )


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
            "kinds": catalog.KINDS,
            "pooled": reading.pooled,
            "duration_ms": reading.duration_ms,
            "invalid_indexes": list(reading.catalog.invalid_indexes),
            "unvalidated_constraints": list(reading.catalog.unvalidated_constraints),
            "version_tables": list(reading.version_tables),
            "prepared_transactions": list(reading.prepared_transactions),
            "address": marker.address(reading.identity.endpoint),
            "server_started_at": reading.server_started_at,
            "wal_position": reading.wal_position,
        },
    }


def _stand(
    subject: Target,
    scripts: places.Scripts | None,
    problem: PortalError | None,
    reading: types.Reading,
    known: dict[str, Any],
) -> evidence.Read:
    if problem is not None:
        return evidence.Read(TargetStatus.UNREADABLE_SCRIPTS, problem.message, error_code=problem.code, **known)
    if scripts is None:
        raise ValueError("There are neither scripts nor a reason why not.")
    if scripts.fatal is not None:
        return evidence.Read(TargetStatus.UNREADABLE_SCRIPTS, scripts.fatal.sentence, **known)
    rows = reading.revisions or ()
    ids = scripts.graph.by_id()
    other = None if all(row in ids for row in rows) else places.graph_that_knows(subject.project, rows)
    stands = standing.standing(scripts.graph, reading.revisions, other=other)
    pending = [{"revision": name, "message": ids[name].message} for name in stands.pending]
    return evidence.Read(stands.status, stands.sentence, heads=stands.heads, pending=pending, **known)
