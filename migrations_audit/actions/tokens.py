"""API tokens: made once and shown once, revoked, and recognised again by their hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db.models import Q

from migrations_audit import access
from migrations_audit.actions import audit
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Conflict, Denied, Invalid, NotFound, PortalError
from migrations_audit.models import ApiToken
from migrations_audit.models.clock import database_now

SCOPES = ("read", "request", "run", "export")
"""There is no scope for approving, and there will be none: a decision is a person's."""

LONGEST_NAME = 80
LONGEST_DAYS = 366
LONGEST_ACTOR_NAME = 150
NOTE_USE_EVERY = timedelta(minutes=1)
_NAMED = re.compile(r" \(token ([0-9a-f]{10})\)$")
_SECRET = re.compile(r"ops_([0-9a-f]{10})_[A-Za-z0-9_-]{43}")


class NotAPerson(Denied):
    """Only an active person can make a token, and only for themselves."""

    code = "not_a_person"


class NoSuchToken(NotFound):
    """There is no such token of yours. Its owner or a superuser can revoke a token."""


class AlreadyRevoked(Conflict):
    """The token has been revoked already."""

    code = "already_revoked"


class TokenRefused(PortalError):
    """The token is not accepted."""

    code = "token_refused"


class TokenUnknown(TokenRefused):
    """There is no such token."""

    code = "token_unknown"


class TokenExpired(TokenRefused):
    """The token has expired. Make a new one."""

    code = "token_expired"


class TokenRevoked(TokenRefused):
    """The token was revoked. Make a new one."""

    code = "token_revoked"


class TokenOwnerInactive(TokenRefused):
    """The token's owner may no longer sign in, so the token acts for nobody."""

    code = "token_owner_inactive"


@dataclass(frozen=True)
class NewToken:
    """A token and its secret, which is nowhere else and cannot be shown again."""

    token: ApiToken
    secret: str = field(repr=False)


@audit.action
def create(*, actor: Actor, name: str, scopes: Collection[str], days: int) -> NewToken:
    """Make a token that acts for ``actor`` within ``scopes`` for ``days`` days.

    Raises Invalid for an odd name, scope or lifetime, MissingScope for a token that asks, and NotAPerson.
    """
    access.need_scope(actor, "")
    owner = get_user_model()._default_manager.filter(pk=actor.user_id or 0, is_active=True).first()
    if owner is None:
        raise NotAPerson
    chosen = _scopes(scopes)
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid(f"A token lives from 1 to {LONGEST_DAYS} days.", field="days")
    prefix = secrets.token_hex(5)
    secret = f"ops_{prefix}_{secrets.token_urlsafe(32)}"
    now = database_now()
    token = ApiToken.objects.create(
        name=_name(name),
        prefix=prefix,
        digest=_digest(secret),
        owner=owner,
        scopes=chosen,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    audit.record(
        actor=actor,
        action="token.created",
        object_kind="token",
        object_id=prefix,
        facts={"name": token.name, "scopes": chosen, "expires_at": token.expires_at.isoformat()},
    )
    return NewToken(token, secret)


@audit.action
def revoke(*, actor: Actor, token_id: int) -> ApiToken:
    """Revoke a token for good. Its owner may, and a superuser. Raises NoSuchToken, AlreadyRevoked, MissingScope."""
    access.need_scope(actor, "")
    token = (
        ApiToken.objects.select_for_update(of=("self",), no_key=True)
        .select_related("owner")
        .filter(pk=token_id)
        .first()
    )
    if token is None or (token.owner_id != actor.user_id and not access.is_superuser(actor)):
        raise NoSuchToken
    if token.revoked_at is not None:
        raise AlreadyRevoked(f"{token} was revoked at {token.revoked_at:%Y-%m-%d %H:%M} UTC.")
    token.revoked_at = database_now()
    token.save(update_fields=["revoked_at"])
    audit.record(
        actor=actor,
        action="token.revoked",
        object_kind="token",
        object_id=token.prefix,
        facts={"name": token.name, "owner": token.owner.get_username()},
    )
    return token


def authenticate(*, secret: str, address: str) -> Actor:
    """The actor for which this secret stands, asking from ``address``. Its use is noted at most once a minute.

    Raises TokenUnknown, TokenRevoked, TokenExpired, TokenOwnerInactive. A face answers all of them with the same words.
    """
    form = _SECRET.fullmatch(secret)
    token = ApiToken.objects.select_related("owner").filter(prefix=form[1] if form else "").first()
    known = hmac.compare_digest(_digest(secret), token.digest if token else "0" * 64)
    if token is None or not known:
        raise TokenUnknown
    now = database_now()
    actor = _acting(token, now=now, address=address)
    ApiToken.objects.filter(pk=token.pk).filter(
        Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - NOTE_USE_EVERY)
    ).update(last_used_at=now)
    return actor


def again(*, prefix: str) -> Actor:
    """The actor of a token that asked for something which is to happen now. Raises as ``authenticate``."""
    token = ApiToken.objects.select_related("owner").filter(prefix=prefix).first()
    if token is None:
        raise TokenUnknown
    return _acting(token, now=database_now(), address="")


def prefix_of(actor: Actor) -> str:
    """The prefix of the token that acts, as its name ends with it; empty for anybody else."""
    named = _NAMED.search(actor.name) if actor.kind is ActorKind.TOKEN else None
    return named[1] if named else ""


def looks_like_secret(text: str) -> bool:
    """Whether a text holds something shaped like a token's secret, wherever it should not be."""
    return _SECRET.search(text) is not None


def actor_name(owner: str, *, prefix: str) -> str:
    """How the audit names a token: its owner and its prefix; what all of an owner's begin with for an empty ``prefix``."""
    suffix = f" (token {prefix})" if prefix else " (token "
    return owner[: LONGEST_ACTOR_NAME - len(" (token 0123456789)")] + suffix


def _acting(token: ApiToken, *, now: datetime, address: str) -> Actor:
    """The actor for which a token stands. Raises TokenRevoked, TokenExpired, TokenOwnerInactive."""
    if token.revoked_at is not None:
        raise TokenRevoked
    if token.expires_at <= now:
        raise TokenExpired
    if not (token.owner.is_active and token.owner.is_staff):
        raise TokenOwnerInactive
    return Actor(
        kind=ActorKind.TOKEN,
        name=actor_name(token.owner.get_username(), prefix=token.prefix),
        user_id=token.owner_id,
        scopes=frozenset(token.scopes),
        address=address,
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid(
            f"Name the token after what uses it, in at most {LONGEST_NAME} printable characters.", field="name"
        )
    return name


def _scopes(asked: Collection[str]) -> list[str]:
    unknown = sorted(set(asked) - set(SCOPES))
    if unknown:
        raise Invalid(f"There is no scope {unknown[0]!r}. Choose from {', '.join(SCOPES)}.", field="scopes")
    if not asked:
        raise Invalid(f"Choose at least one scope: {', '.join(SCOPES)}.", field="scopes")
    return [scope for scope in SCOPES if scope in asked]
