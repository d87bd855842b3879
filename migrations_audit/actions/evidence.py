"""Observations, the identity of a target, and evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import IntegrityError, connection, transaction

from migrations_audit import access, dispatch
from migrations_audit.actions import audit, texts
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.judgement import Check
from migrations_audit.models import Catalog, Evidence, MigrationRun, Observation, Project, Role, Snapshot, Target
from migrations_audit.models.clock import database_now
from migrations_audit.states import TargetStatus

LONGEST_REASON = 2_000


ENROL_LOCK = (0x4F50, 3)


class NotEnrolled(Conflict):
    """This target has no enrolled identity."""

    code = "not_enrolled"


class RunIsLive(Conflict):
    """A run is live on this target. Wait until it has ended."""

    code = "run_is_live"


@dataclass(frozen=True)
class Read:
    """What a worker read, or why it could not."""

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
    if locked.identity is None and read.identity is not None:
        read = _unless_taken(locked, read)
    now = database_now()
    catalog = None
    if read.catalog is not None:
        fingerprint, body = read.catalog
        catalog, _ = Catalog.objects.get_or_create(fingerprint=fingerprint, defaults={"body": dict(body)})
    observation = Observation.objects.create(
        target=target,
        at=now,
        reader=actor.name,
        purpose=purpose,
        status=read.status.value,
        sentence=read.sentence,
        error_code=read.error_code,
        identity=dict(read.identity) if read.identity is not None else None,
        revisions=list(read.revisions) if read.revisions is not None else None,
        heads=list(read.heads),
        pending=[dict(step) for step in read.pending],
        snapshot=snapshot,
        catalog=catalog,
        facts=dict(read.facts),
        run=run,
    )
    Target.objects.filter(pk=target.pk).update(
        next_observation_at=now + timedelta(seconds=target.environment.observe_every_s)
    )
    enrols = locked.identity is None and observation.was_read
    if enrols:
        Target.objects.filter(pk=target.pk).update(identity=observation.identity, enrolled_at=now)
        target.identity, target.enrolled_at = observation.identity, now
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


def _unless_taken(target: Target, read: Read) -> Read:
    """Refuse to enrol a database that is enrolled in another environment: it would come under another policy there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", ENROL_LOCK)
    identity = read.identity or {}
    # A service that withholds its identifier leaves the endpoint to compare.
    names = ("system_identifier", "database_oid") if identity["system_identifier"] else ("endpoint", "database_oid")
    same = {f"identity__{name}": identity[name] for name in names}
    other = Target.objects.exclude(environment=target.environment_id).filter(**same).first()
    if other is None:
        return read
    return replace(
        read,
        status=TargetStatus.WRONG_DATABASE,
        error_code="enrolled_elsewhere",
        sentence=f"This is the database of {other}, or a physical copy of it, so it is not enrolled as {target}. "
        "Correct the URL reference of one of them.",
    )


@audit.action
def forget_identity(*, actor: Actor, target_id: int, reason: str) -> Target:
    """Let the next observation enrol this target anew, because its database was replaced on purpose.

    For administrators of the environment, with a reason. Open approvals become void: they bind the old identity.
    """
    target = access.get_target_for(actor, target_id)
    access.need(actor, target.environment, Role.ADMINISTRATOR)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON)
    if not words:
        raise Invalid("Say why the enrolled identity is given up.", field="reason")
    old = Target.objects.select_for_update(no_key=True).get(pk=target.pk).identity
    live = MigrationRun.objects.live().filter(target=target).first()
    if live is not None:
        raise RunIsLive(
            f"{live} is {live.get_state_display()}; what it did must be read in the database that it was for."
        )
    if old is None:
        raise NotEnrolled(f"{target} has no enrolled identity; the next observation enrols what it finds.")
    Target.objects.filter(pk=target.pk).update(identity=None, enrolled_at=None)
    audit.record(
        actor=actor,
        action="target.identity_forgotten",
        object_kind="target",
        object_id=target.pk,
        target=target,
        facts={"identity": old, "reason": words},
    )
    dispatch.after_commit(dispatch.Wake.OBSERVE, queue=target.environment.queue, target_id=target.pk)
    return target


@audit.action
def keep_snapshot(
    *,
    actor: Actor,
    project: Project,
    digest: str,
    archive: bytes,
    files: Sequence[Mapping[str, Any]],
    graph: Mapping[str, Any],
) -> Snapshot:
    """Store a snapshot of a project's scripts, or return the one with this digest."""
    known = Snapshot.objects.filter(project=project, digest=digest).first()
    if known is not None:
        return known
    try:
        with transaction.atomic():
            snapshot = Snapshot.objects.create(
                project=project, digest=digest, archive=archive, files=list(files), graph=dict(graph), at=database_now()
            )
    except IntegrityError:
        return Snapshot.objects.get(project=project, digest=digest)
    audit.record(
        actor=actor,
        action="snapshot.frozen",
        object_kind="snapshot",
        object_id=digest,
        facts={"project": project.slug, "files": len(files), "heads": graph.get("heads")},
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
            detail=list(check.detail),
            observation=observation,
        )
        for check in checks
    )
