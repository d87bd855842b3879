"""From a request to the actor whose rights count."""

from __future__ import annotations

from django.http import HttpRequest

from migrations_audit.actors import Actor, ActorKind


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person, or a stranger."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    if not request.user.is_authenticated:
        return Actor(kind=ActorKind.ANONYMOUS, name="a stranger", address=address)
    return Actor(kind=ActorKind.USER, name=request.user.get_username(), user_id=request.user.pk, address=address)
