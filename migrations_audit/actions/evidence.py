"""Observations, snapshots, and evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction

from migrations_audit import access, dispatch, listing
from migrations_audit.actions import audit, enrolment
from migrations_audit.actors import Actor
from migrations_audit.judgement import Check
from migrations_audit.models import Catalog, Evidence, MigrationRun, Observation, Project, Snapshot, Target
from migrations_audit.models.clock import database_now
from migrations_audit.states import TargetStatus

MOST_LINES = 500
"""Of the detail of one check: a page shows all of them, and an export holds them."""


@dataclass(frozen=True)
class Read:
    """What a worker read, or why it could not. Of the facts, enrolment looks at the portal's ``marker``, the ``address`` and
    ``server_started_at``."""

    status: TargetStatus
    sentence: str
    error_code: str = ""
    identity: Mapping[str, Any] | None = None
    revisions: Sequence[str] | None = None
    heads: Sequence[str] = ()
    pending: Sequence[Mapping[str, Any]] = ()
    catalog: tuple[str, Mapping[str, str]] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@audit.action
def request_observation(*, actor: Actor, target_id: int) -> Target:
    """Check now: have a worker read the target. Anyone who sees the target may."""
    target = access.get_target_for(actor, target_id)
    access.need_scope(actor, "read")
    dispatch.after_commit(dispatch.Wake.OBSERVE, queue=target.environment.queue, target_id=target.pk)
    audit.record(actor=actor, action="target.check_requested", object_kind="target", object_id=target.pk, target=target)
    return target


@audit.action
def record_observation(
    *,
    actor: Actor,
    target: Target,
    purpose: str,
    read: Read,
    snapshot: Snapshot | None,
    run: MigrationRun | None = None,
) -> Observation:
    """Store one reading. The first one that names a database enrols its identity, in the same transaction."""
    locked = Target.objects.select_for_update(no_key=True).get(pk=target.pk)
    if locked.identity is None and read.identity is not None and read.status is not TargetStatus.WRONG_DATABASE:
        refused = enrolment.refusal(locked, identity=read.identity, facts=read.facts)
        if refused is not None:
            read = replace(read, status=TargetStatus.WRONG_DATABASE, error_code=refused.code, sentence=refused.sentence)
    now = database_now()
    observation = Observation.objects.create(
        target=target, at=now, reader=actor.name, purpose=purpose, snapshot=snapshot, run=run, **_columns(read)
    )
    Target.objects.filter(pk=target.pk).update(
        next_observation_at=now + timedelta(seconds=target.environment.observe_every_s)
    )
    enrols = locked.identity is None and observation.was_read
    if enrols:
        _enrol(target, observation, marker=locked.marker)
    facts = {
        "observation": observation.pk,
        "purpose": purpose,
        "status": observation.status,
        "sentence": observation.sentence,
        "revisions": observation.revisions,
        "catalog": observation.catalog_id,
        "run": observation.run_id,
    }
    tell = partial(audit.record, actor=actor, object_kind="target", object_id=target.pk, target=target)
    tell(action="target.observed", facts=facts)
    if enrols:
        tell(action="target.enrolled", facts={"identity": observation.identity})
    return observation


def _columns(read: Read) -> dict[str, Any]:
    """What was read, as an observation keeps it. A catalog that was read before is kept once."""
    catalog = None
    if read.catalog is not None:
        fingerprint, body = read.catalog
        catalog, _ = Catalog.objects.get_or_create(fingerprint=fingerprint, defaults={"body": dict(body)})
    return {
        "status": read.status.value,
        "sentence": read.sentence,
        "error_code": read.error_code,
        "identity": dict(read.identity) if read.identity is not None else None,
        "revisions": list(read.revisions) if read.revisions is not None else None,
        "heads": list(read.heads),
        "pending": [dict(step) for step in read.pending],
        "catalog": catalog,
        "facts": dict(read.facts),
    }


def _enrol(target: Target, observation: Observation, *, marker: str) -> None:
    """Make the observed database the target's own. A ``marker`` that is not found in it is another database's."""
    kept = marker if (observation.facts.get("marker") or {}).get("id") == marker else ""
    Target.objects.filter(pk=target.pk).update(identity=observation.identity, enrolled_at=observation.at, marker=kept)
    target.identity, target.enrolled_at, target.marker = observation.identity, observation.at, kept


@audit.action
def keep_snapshot(
    *,
    actor: Actor,
    project: Project,
    digest: str,
    archive: bytes,
    files: Sequence[Mapping[str, Any]],
    graph: Mapping[str, Any],
    commit: Mapping[str, str] | None = None,
) -> Snapshot:
    """Store a snapshot of a project's scripts, or return the one with this digest.

    The stored ``commit`` is the first one that held these files; each observation says which commit it found.
    """
    known = Snapshot.objects.filter(project=project, digest=digest).first()
    if known is not None:
        return known
    try:
        with transaction.atomic():
            snapshot = Snapshot.objects.create(
                project=project,
                digest=digest,
                archive=archive,
                files=list(files),
                graph=dict(graph),
                commit=dict(commit or {}),
                at=database_now(),
            )
    except IntegrityError:
        return Snapshot.objects.get(project=project, digest=digest)
    audit.record(
        actor=actor,
        action="snapshot.frozen",
        object_kind="snapshot",
        object_id=digest,
        facts={"project": project.slug, "files": len(files), "heads": graph.get("heads")}
        | ({"commit": commit["id"], "ref": commit["ref"]} if commit else {}),
    )
    return snapshot


def store_checks(
    *, target: Target, run: MigrationRun | None, observation: Observation | None, checks: Sequence[Check]
) -> list[Evidence]:
    """Write evidence rows within the caller's transaction; the caller's event tells of them."""
    now = database_now()
    return Evidence.objects.bulk_create(
        Evidence(
            run=run,
            target=target,
            at=now,
            check_name=check.name,
            expected=check.expected,
            observed=check.observed,
            outcome=check.outcome.value,
            detail=listing.lines(check.detail, MOST_LINES),
            observation=observation,
        )
        for check in checks
    )
