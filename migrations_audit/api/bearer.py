"""Who asks: the token in the Authorization header, and nothing else. A session does not count here, and a query string never."""

from __future__ import annotations

from django.http import HttpRequest
from ninja.security import HttpBearer

from migrations_audit import access
from migrations_audit.actions import tokens
from migrations_audit.actors import Actor
from migrations_audit.errors import Denied

_NAMES = frozenset({"token", "access_token", "api_key", "apikey", "api_token", "authorization", "bearer"})


class TokenInAddress(Denied):
    """A token does not belong in an address, which is logged. Revoke this one and send another in the header."""

    code = "token_in_address"


class Bearer(HttpBearer):
    """``Authorization: Bearer ops_…``"""

    def __call__(self, request: HttpRequest) -> Actor | None:
        for name, values in request.GET.lists():
            if name.lower() in _NAMES or any(tokens.looks_like_secret(str(value)) for value in values):
                raise TokenInAddress
        actor: Actor | None = super().__call__(request)
        return actor

    def authenticate(self, request: HttpRequest, token: str) -> Actor:
        return tokens.authenticate(secret=token, address=str(request.META.get("REMOTE_ADDR", "")))


def actor_of(request: HttpRequest) -> Actor:
    """The actor whom ``Bearer`` recognised."""
    actor = getattr(request, "auth", None)
    if not isinstance(actor, Actor):
        raise TypeError("This endpoint was not authenticated.")
    return actor


def reader(request: HttpRequest) -> Actor:
    """The actor of a look, whose token must have the scope ``read``. A denied look is recorded. Raises MissingScope."""
    actor = actor_of(request)
    request.is_look = True  # type: ignore[attr-defined]  # for api.problems: an action records its own denials
    access.need_scope(actor, "read")
    return actor
