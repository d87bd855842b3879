"""Who may change the registry: superusers, holders of Django's model permission, and an environment's own administrators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Model

from migrations_audit import access
from migrations_audit.actors import Actor
from migrations_audit.errors import Conflict, Denied
from migrations_audit.models import Environment, Membership, Role, Target

Verb: TypeAlias = Literal["add", "change", "delete"]
LOCAL: tuple[type[Model], ...] = (Target, Membership)
"""What an environment's administrators look after themselves."""


class MayNotRegister(Denied):
    """You may not change the registry. A superuser can, or can give you the permission."""

    code = "may_not_register"


class NeedsSecondPerson(Conflict):
    """This loosens production's policy or adds approvers to it. It is proposed, and a second administrator confirms it."""

    code = "needs_second_person"

    def __init__(self, message: str, *, changes: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.changes = changes


def holds_permission(person: AbstractUser | AnonymousUser, verb: Verb, model: type[Model]) -> bool:
    """Whether the person is active and holds Django's permission for it, as every superuser does."""
    return person.has_perm(f"{model._meta.app_label}.{verb}_{model._meta.model_name}")


def administered_by(user_id: int | None) -> frozenset[int]:
    """The ids of the environments in which this active person is an administrator by membership."""
    rows = Membership.objects.filter(role=Role.ADMINISTRATOR, group__user__id=user_id or 0, group__user__is_active=True)
    return frozenset(rows.values_list("environment_id", flat=True))


def need(actor: Actor, verb: Verb, model: type[Model], *, environment: Environment | None = None) -> None:
    """Raise MayNotRegister unless the actor, in person, may do this to a ``model`` (of ``environment``)."""
    access.need_scope(actor, "")
    person = get_user_model()._default_manager.filter(pk=actor.user_id or 0, is_active=True).first()
    if person is not None and holds_permission(person, verb, model):
        return
    if model in LOCAL and environment is not None and environment.pk in administered_by(actor.user_id):
        return
    place = f" of {environment.name}" if environment is not None else ""
    others = f", and so can an administrator{place}" if model in LOCAL else ""
    raise MayNotRegister(
        f"{actor.name} may not {verb} {model._meta.verbose_name_plural}{place}. "
        f"A superuser can, or can give the permission {verb}_{model._meta.model_name}{others}."
    )
