"""Freezing the portal: no run starts anywhere until somebody thaws it, or its time is over."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from migrations_audit import access
from migrations_audit.actions import audit, texts
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Denied, Invalid
from migrations_audit.models import Freeze, Membership, Role
from migrations_audit.models.clock import database_now

LONGEST_REASON = 2_000
TIME_OVER = "Its time was over."


class MayNotFreeze(Denied):
    """Only an administrator of an environment and a superuser freeze and thaw the portal, in person."""

    code = "may_not_freeze"


class AlreadyFrozen(Conflict):
    """The portal is frozen already. Thaw it first, to freeze it for another reason or for longer."""

    code = "already_frozen"


class NotFrozen(Conflict):
    """The portal is not frozen, so there is nothing to thaw."""

    code = "not_frozen"


@audit.action
def freeze(*, actor: Actor, reason: str, until: datetime | None = None) -> Freeze:
    """Let no run start anywhere from now on, until it is thawed or until ``until``. What runs already runs on.

    A run that a worker is about to take up either was claimed before the freeze, and its event stands before it, or not at all.
    Raises MayNotFreeze, AlreadyFrozen, Invalid, MissingScope.
    """
    _need_right(actor)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON, required=True)
    now = database_now()
    if until is not None and until <= now:
        raise Invalid("The end of a freeze lies in the future.", field="until")
    for over in Freeze.objects.select_for_update(no_key=True).open().filter(until__lte=now):
        _end(over, at=now, by=actor.name, reason=TIME_OVER)
        _record_end(actor, over)
    if (standing := Freeze.objects.in_force(now).first()) is not None:
        raise AlreadyFrozen(f"{standing.sentence} Thaw it first, to freeze it for another reason or for longer.")
    person = get_user_model()._default_manager.get(pk=actor.user_id or 0)
    try:
        with transaction.atomic():
            made = Freeze.objects.create(reason=words, by=person, by_name=person.get_username(), at=now, until=until)
    except IntegrityError as error:
        raise AlreadyFrozen from error
    audit.record(
        actor=actor,
        action="portal.frozen",
        object_kind="freeze",
        object_id=made.pk,
        facts={"reason": words, "until": until.isoformat() if until else None},
    )
    return made


@audit.action
def thaw(*, actor: Actor, reason: str) -> Freeze:
    """Let runs start again. Raises MayNotFreeze, NotFrozen, Invalid, MissingScope."""
    _need_right(actor)
    words = texts.check(reason, field="reason", longest=LONGEST_REASON, required=True)
    standing = Freeze.objects.select_for_update(no_key=True).open().first()
    if standing is None:
        raise NotFrozen
    _end(standing, at=database_now(), by=actor.name, reason=words)
    _record_end(actor, standing)
    return standing


@audit.action
def thaw_overdue(*, actor: Actor) -> bool:
    """End the freeze whose time is over, so that the audit says when it ended. Whether there was one."""
    over = (
        Freeze.objects.select_for_update(no_key=True, skip_locked=True).open().filter(until__lte=database_now()).first()
    )
    if over is None:
        return False
    _end(over, at=database_now(), by=actor.name, reason=TIME_OVER)
    _record_end(actor, over)
    return True


def may_freeze(user_id: int | None) -> bool:
    """Whether this person is active and administers any environment, as a superuser does."""
    person = get_user_model()._default_manager.filter(pk=user_id or 0, is_active=True).first()
    if person is None:
        return False
    return person.is_superuser or Membership.objects.filter(role=Role.ADMINISTRATOR, group__user=person).exists()


def _need_right(actor: Actor) -> None:
    access.need_scope(actor, "")
    if not may_freeze(actor.user_id):
        raise MayNotFreeze(
            f"{actor.name} administers no environment. Only an administrator of an environment and a superuser freeze and thaw "
            "the portal."
        )


def _end(freeze: Freeze, *, at: datetime, by: str, reason: str) -> None:
    freeze.is_open, freeze.ended_at, freeze.ended_by_name, freeze.end_reason = False, at, by[:150], reason
    freeze.save(update_fields=["is_open", "ended_at", "ended_by_name", "end_reason"])


def _record_end(actor: Actor, freeze: Freeze) -> None:
    audit.record(
        actor=actor,
        action="portal.thawed",
        object_kind="freeze",
        object_id=freeze.pk,
        facts={"reason": freeze.end_reason, "frozen_by": freeze.by_name, "frozen_at": freeze.at.isoformat()},
    )
