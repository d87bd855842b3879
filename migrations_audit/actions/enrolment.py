"""Which database a target is: enrolled once, told from copies by its marker, given up on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from migrations_audit import access, dispatch
from migrations_audit.actions import audit, texts
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Invalid
from migrations_audit.models import MigrationRun, Observation, Role, Target
from migrations_audit.states import Engine

LONGEST_REASON = 2_000
ENROL_LOCK = (0x4F50, 3)


class NotEnrolled(Conflict):
    """This target has no enrolled identity."""

    code = "not_enrolled"


class RunIsLive(Conflict):
    """A run is live on this target. Wait until it has ended."""

    code = "run_is_live"


@dataclass(frozen=True)
class Refusal:
    """Why a database is not enrolled."""

    code: str
    sentence: str


def refusal(target: Target, *, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> Refusal | None:
    """Why the database that was read may not be enrolled as ``target``: another environment has it, with another policy.

    Two databases with the same identifiers are told apart by their markers. A marker that an administrator accepted as that of
    the original is believed to stand in a copy only where another server answers than the original's last reading told.
    Takes the lock of all enrolments until the caller's transaction ends.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", ENROL_LOCK)
    marker = facts.get("marker") or {}
    is_accepted = bool(target.marker) and marker.get("id") == target.marker
    is_elsewhere = bool(marker) and marker["endpoint"] != facts.get("address")
    for other in _same_database(identity).exclude(pk=target.pk).select_related("project", "environment"):
        if marker and other.marker and marker["id"] != other.marker:
            continue
        shares_policy = other.environment_id == target.environment_id
        if shares_policy and not (is_accepted and is_elsewhere):
            continue
        if is_accepted and not _is_same_server(other, facts):
            continue
        if shares_policy:
            return Refusal(
                code="enrolled_elsewhere",
                sentence=f"This is the database of {other} itself under another address, so it is no copy. Write the same "
                "address in both URL references.",
            )
        return Refusal(
            code="enrolled_elsewhere",
            sentence=f"This is the database of {other}, or a physical copy of it, so it is not enrolled as {target}. "
            "Correct the URL reference of one of them.",
        )
    return None


def _same_database(identity: Mapping[str, Any]) -> QuerySet[Target]:
    # A service that withholds its identifier leaves the endpoint to compare.
    names = ["system_identifier" if identity["system_identifier"] else "endpoint", "database_oid"]
    if identity.get("engine", Engine.POSTGRESQL) != Engine.POSTGRESQL:
        names.append("database")  # no other engine gives its databases numbers
    return Target.objects.filter(**{f"identity__{name}": identity[name] for name in names})


def _is_same_server(other: Target, facts: Mapping[str, Any]) -> bool:
    """Whether the very server that was read now answered for ``other`` last time; so it is taken to be where nobody told."""
    last = other.observations.counted().order_by("-at", "-id").first()
    started_at = facts.get("server_started_at")
    return not started_at or last is None or last.facts.get("server_started_at") in (None, "", started_at)


@audit.action
def forget_identity(*, actor: Actor, target_id: int, reason: str) -> Target:
    """Let the next observation enrol this target anew: its database was replaced, or is meant to be a copy of another one.

    For administrators of the environment, with a reason. Open approvals become void: they bind the old identity. The marker of
    the last reading is accepted, and no other: the next observation enrols what carries it, and writes a new one there.
    """
    target = access.get_target_for(actor, target_id)
    access.need(actor, target.environment, Role.ADMINISTRATOR)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON)
    if not words:
        raise Invalid("Say why the enrolled identity is given up.", field="reason")
    locked = Target.objects.select_for_update(no_key=True).get(pk=target.pk)
    live = MigrationRun.objects.live().filter(target=target).first()
    if live is not None:
        raise RunIsLive(
            f"{live} is {live.get_state_display()}; what it did must be read in the database that it was for."
        )
    newest = target.observations.first()
    if locked.identity is None and not (newest is not None and newest.may_be_meant):
        raise NotEnrolled(f"{target} has no enrolled identity; the next observation enrols what it finds.")
    marker = newest.facts.get("marker") if newest is not None else None
    Target.objects.filter(pk=target.pk).update(identity=None, enrolled_at=None, marker=marker["id"] if marker else "")
    audit.record(
        actor=actor,
        action="target.identity_forgotten",
        object_kind="target",
        object_id=target.pk,
        target=target,
        facts={"identity": locked.identity, "marker": marker, "reason": words},
    )
    dispatch.after_commit(dispatch.Wake.OBSERVE, queue=target.environment.queue, target_id=target.pk)
    return target


@audit.action
def mark(
    *,
    actor: Actor,
    target: Target,
    observation: Observation,
    is_new: bool,
    leave: Callable[[], Mapping[str, str]],
) -> None:
    """Note the marker that ``leave`` says stands in the enrolled database, or writes there.

    The target's row stays locked meanwhile, so that of two workers one writes. Nothing is written when the target was enrolled
    anew or marked since it was loaded, or a run is live. Raises what ``leave`` raises.
    """
    locked = Target.objects.select_for_update(no_key=True).get(pk=target.pk)
    if locked.enrolled_at != target.enrolled_at or locked.marker != target.marker:
        return
    if MigrationRun.objects.live().filter(target=target).exists():
        return
    marker = leave()
    Target.objects.filter(pk=target.pk).update(marker=marker["id"])
    target.marker = marker["id"]
    audit.record(
        actor=actor,
        action="target.marked",
        object_kind="target",
        object_id=target.pk,
        target=target,
        facts={
            "marker": dict(marker),
            "is_new": is_new,
            "replaces": (observation.facts.get("marker") or {}).get("id", ""),
            "observation": observation.pk,
        },
    )
