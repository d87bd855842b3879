"""Sign-ins: how often somebody may try, and what of it the chain keeps.

Every attempt is counted before the password is looked at, by account and address, by account, and by address, whether there is
such an account or not: neither the words nor the work nor the trail tell which names exist. What a stranger typed is not kept,
for it may be a password in the wrong field.
"""

from __future__ import annotations

import ipaddress
import logging
import unicodedata

from django.contrib.auth import get_user_model
from django.views.decorators.debug import sensitive_variables

from migrations_audit import throttle
from migrations_audit.actions import audit
from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import Invalid, PortalError

logger = logging.getLogger(__name__)

WINDOW_S = 900
MOST_HERE = 10
"""Attempts at one account from one address. Somebody who types badly elsewhere does not keep its owner out."""
MOST_OF_AN_ACCOUNT = 100
MOST_OF_AN_ADDRESS = 50
"""Those that succeed are taken off again: a whole office may stand behind one address."""
MOST_EVENTS = 200
"""Events that strangers may cause in a window, all of them together. What is beyond is in the log only."""

NOBODY = "an account that is not there"


class SignInThrottled(PortalError):
    """There were too many attempts to sign in. Wait, and try again."""

    code = "sign_in_throttled"

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        minutes = -(-seconds // 60)
        super().__init__(
            f"There were too many attempts to sign in. Try again in {minutes} minute{'s' if minutes > 1 else ''}."
        )


class PasswordRefused(Invalid):
    """This is not your password, so nothing was started. Type the one with which you sign in."""

    code = "password_refused"

    def __init__(self) -> None:
        super().__init__(field="password")


def begin(*, username: str, address: str) -> None:
    """Count an attempt. Raises SignInThrottled; the password must not be looked at then.

    A refused attempt is counted no further, so that one address cannot use up what an account has for all addresses.
    """
    counted = (
        ("address", _network(address), MOST_OF_AN_ADDRESS),
        ("account and address", _both(username, address), MOST_HERE),
        ("account", _account(username), MOST_OF_AN_ACCOUNT),
    )
    for by, subject, most in counted:
        count = throttle.add(by, subject, window_s=WINDOW_S)
        if count.times <= most:
            continue
        if count.times == most + 1 and _may_tell(address):
            _record_throttled(actor=_stranger(address), name=_shown(username), by=by)
        raise SignInThrottled(count.seconds_left)


def failed(*, username: str, address: str) -> None:
    """Record a refused attempt: the first at this account from this address in each window."""
    if throttle.add("told", _both(username, address), window_s=WINDOW_S).times == 1 and _may_tell(address):
        _record_failed(actor=_stranger(address), name=_shown(username))


@audit.action
def succeeded(*, actor: Actor) -> None:
    """Record that somebody signed in, and forget their failures. Raises AuditUnavailable, and then nobody is signed in."""
    audit.record(actor=actor, action="user.signed_in", object_kind="user", object_id=actor.name)
    throttle.take_back("address", _network(actor.address))
    throttle.forget("account and address", _both(actor.name, actor.address))
    throttle.forget("account", _account(actor.name))


@sensitive_variables("password")
def ask_again(*, actor: Actor, password: str) -> None:
    """Check the password of somebody who is signed in, as often as a sign-in may be tried. Raises what says no.

    A wrong one is recorded like a refused sign-in, in a transaction of its own.
    """
    begin(username=actor.name, address=actor.address)
    person = get_user_model()._default_manager.filter(pk=actor.user_id or 0, is_active=True).first()
    if person is None or not person.check_password(password):
        failed(username=actor.name, address=actor.address)
        raise PasswordRefused
    throttle.take_back("address", _network(actor.address))
    throttle.forget("account and address", _both(actor.name, actor.address))
    throttle.forget("account", _account(actor.name))


@audit.action
def _record_failed(*, actor: Actor, name: str) -> None:
    audit.record(actor=actor, action="user.sign_in_failed", object_kind="user", object_id=name)


@audit.action
def _record_throttled(*, actor: Actor, name: str, by: str) -> None:
    audit.record(actor=actor, action="user.sign_in_throttled", object_kind="user", object_id=name, facts={"by": by})


def _may_tell(address: str) -> bool:
    if throttle.add("events of strangers", "", window_s=WINDOW_S).times <= MOST_EVENTS:
        return True
    logger.warning("A sign-in from %s was refused; the chain holds enough of them for now.", address)
    return False


def _stranger(address: str) -> Actor:
    return Actor(kind=ActorKind.ANONYMOUS, name="a stranger", address=address)


def _shown(username: str) -> str:
    known = get_user_model()._default_manager.filter(username=username).values_list("username", flat=True).first()
    return known or NOBODY


def _account(username: str) -> str:
    return unicodedata.normalize("NFKC", username).casefold()


def _both(username: str, address: str) -> str:
    return f"{_network(address)}\n{_account(username)}"


def _network(address: str) -> str:
    """Whoever has one IPv6 address has a whole /64 of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    if isinstance(found, ipaddress.IPv6Address) and mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(mapped or found)
