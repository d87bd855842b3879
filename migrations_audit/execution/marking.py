"""Leaves the portal's marker in a database after its enrolment, and says what a marker that was read means."""

from __future__ import annotations

import logging
import uuid
from dataclasses import asdict, dataclass

from django.conf import settings

from migrations_audit.actions import enrolment
from migrations_audit.actors import Actor
from migrations_audit.engine import marker, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.models import Observation, Target
from migrations_audit.states import Engine

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What the markers of a reading say of ``subject``. ``copy`` is the sentence of a refusal, or nothing."""

    found: types.Marker | None
    copy: str
    remarks: tuple[str, ...]


def look(subject: Target, reading: types.Reading, *, is_enrolled_one: bool) -> Told:
    """Compare the markers that were read with the target's own. ``is_enrolled_one``: its identity is the enrolled one."""
    if reading.marking is None:
        kind = "Not marked: this kind of server takes no marker; a copy of this database cannot be told apart."
        return Told(None, "", (kind,) if subject.environment.marks_targets else ())
    found = reading.marking.of(settings.PORTAL_NAME)
    where = marker.address(reading.identity.endpoint)
    remarks = [
        f"The portal “{other.portal}” has marked it as {other.target} at {other.endpoint}."
        for other in reading.marking.markers
        if other != found
    ]
    if reading.marking.problem:
        remarks.append(reading.marking.problem)
    elif found is None and subject.marker and subject.identity is not None:
        remarks.append(
            "The marker is gone: the database was restored from before its enrolment, or replaced. "
            "If that was meant, forget the identity, so that it is enrolled and marked anew."
        )
    elif found is None and (why := _why_not(subject, reading)):
        remarks.append(f"Not marked: {why}; a copy of this database cannot be told apart.")
    is_copy = found is not None and _is_copy(subject, found, where, is_enrolled_one=is_enrolled_one)
    if found is not None and is_copy:
        subject.refresh_from_db(fields=["marker"])  # another worker may just have marked it
        is_copy = _is_copy(subject, found, where, is_enrolled_one=is_enrolled_one)
    return Told(found, _copy_words(found, subject) if found and is_copy else "", tuple(remarks))


def leave(subject: Target, *, actor: Actor, url: TargetUrl, reading: types.Reading, observation: Observation) -> None:
    """Mark the database that ``observation`` read, where the policy says so and it has no marker of this target yet.

    Nothing while a run is live. What cannot be written now is tried again at the next reading.
    """
    if reading.marking is None:
        return
    found = reading.marking.of(settings.PORTAL_NAME)
    where = marker.address(reading.identity.endpoint)
    is_own = found is not None and found.id == subject.marker and found.endpoint == where
    is_gone = found is None and bool(subject.marker)
    if not observation.was_read or subject.identity is None or is_own or is_gone or _why_not(subject, reading):
        return
    if not subject.environment.marks_targets:
        return
    shared = found if found is not None and found.endpoint == where and _belongs_to_another(subject, found) else None
    new = types.Marker(str(uuid.uuid4()), settings.PORTAL_NAME, subject.label, where, "")

    def write() -> dict[str, str]:
        if shared is not None:
            return asdict(shared)
        written = marker.write(
            url,
            marker=new,
            replaces=found.id if found else "",
            identity=reading.identity,
            server_started_at=reading.server_started_at,
        )
        return asdict(written)

    try:
        enrolment.mark(actor=actor, target=subject, observation=observation, is_new=shared is None, leave=write)
    except PortalError as error:
        logger.warning("%s is not marked: %s", subject, error.message)


def _is_copy(subject: Target, found: types.Marker, where: str, *, is_enrolled_one: bool) -> bool:
    if found.id == subject.marker and (subject.identity is None or is_enrolled_one):
        return False  # its own; or that of the original, which an administrator accepted
    if found.endpoint != where:
        return True
    return subject.identity is not None and bool(subject.marker) and found.id != subject.marker


def _copy_words(found: types.Marker, subject: Target) -> str:
    return (
        f"This looks like a copy of {found.target} (marker written {found.written_at[:10]} for {found.endpoint}), so it is "
        f"not {subject}, and nothing is run there. Correct the URL reference; or, if the copy is meant to be this target, an "
        "administrator says so with a reason."
    )


def _why_not(subject: Target, reading: types.Reading) -> str:
    """Why the database cannot be marked where it should be."""
    if not subject.environment.marks_targets:
        return ""
    if reading.engine is not Engine.POSTGRESQL:
        return f"markers are left in PostgreSQL alone, not in {reading.engine.label}"
    if reading.pooled:
        return "a connection pooler stands before it"
    return "" if reading.marking is None or reading.marking.may_write else "the role may not create a schema"


def _belongs_to_another(subject: Target, found: types.Marker) -> bool:
    """Whether another project's target of this portal left the marker: they share the database."""
    return Target.objects.filter(marker=found.id).exclude(pk=subject.pk).exists()
