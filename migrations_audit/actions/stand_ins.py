"""Who asked for something that the portal does later, kept so that it can ask then whether that person still may."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from migrations_audit.actions import tokens
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Denied


class StarterGone(Denied):
    """Whoever started or scheduled the run may not sign in any more."""

    code = "starter_gone"


def named(actor: Actor) -> dict[str, Any]:
    """The actor as it is kept. Raises TokenUnknown for a token that could not be found again."""
    prefix = tokens.prefix_of(actor)
    if actor.kind is ActorKind.TOKEN:
        tokens.again(prefix=prefix)
    return {"kind": actor.kind.value, "name": actor.name, "user_id": actor.user_id, "token": prefix}


def again(kept: dict[str, Any]) -> Actor:
    """The actor as it is now. Raises StarterGone, and what ``tokens.again`` raises."""
    if kept["token"]:
        return tokens.again(prefix=kept["token"])
    person = get_user_model()._default_manager.filter(pk=kept["user_id"] or 0, is_active=True).first()
    if person is None:
        raise StarterGone(f"{kept['name']} may not sign in any more.")
    return Actor(kind=ActorKind(kept["kind"]), name=person.get_username(), user_id=person.pk)
