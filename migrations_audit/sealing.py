"""Sealed database URLs, and the grammar of the references that targets store in place of a URL. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from migrations_audit.errors import Invalid, PortalError

MAX_REFERENCE: Final = 8192

# A target that points here would be the portal itself.
_OWN_VARIABLES: Final = frozenset({"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "PORTAL_SEALING_KEYS"})
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_TOKEN: Final = re.compile(r"gAAAA[A-Za-z0-9_-]{60,}={0,2}")


class NoSealingKey(PortalError):
    """No usable sealing key: set PORTAL_SEALING_KEYS, each key the URL-safe base64 of 32 random bytes, the newest first."""

    code = "no_sealing_key"


class CannotUnseal(PortalError):
    """None of the sealing keys opens this value: it was sealed with a key that is gone, or it was altered.
    Put the old key at the end of PORTAL_SEALING_KEYS, or enter the value again."""

    code = "cannot_unseal"


def seal(text: str, *, keys: Sequence[str]) -> str:
    """Encrypt ``text`` with the first key. Raises NoSealingKey."""
    return _box(keys).encrypt(text.encode()).decode()


def unseal(token: str, *, keys: Sequence[str]) -> str:
    """Return what was sealed with any of the keys. Raises NoSealingKey and CannotUnseal."""
    box = _box(keys)
    if not _TOKEN.fullmatch(token):
        raise CannotUnseal
    try:
        return box.decrypt(token.encode()).decode()
    except InvalidToken:
        raise CannotUnseal from None


def check_reference(text: str) -> None:
    """Accept ``env:NAME``, ``file:/absolute/path`` and ``sealed:TOKEN``; syntax only, nothing is looked up.

    Raises Invalid. What was entered may be a pasted secret, so the message repeats a name or a path, never the rest.
    """
    kind, _, value = text.partition(":")
    if value.startswith("//"):
        raise Invalid(
            "This is a URL. Store it where the worker runs and enter env:NAME or file:/path, or have it sealed."
        )
    if len(text) > MAX_REFERENCE or not text.isprintable():
        raise Invalid(f"A reference is one line of at most {MAX_REFERENCE} printable characters.")
    match kind:
        case "env":
            _check_variable(value)
        case "file":
            _check_path(value)
        case "sealed":
            if not _TOKEN.fullmatch(value):
                raise Invalid("What follows sealed: is not a sealed value. Enter the URL again to have it sealed.")
        case _:
            raise Invalid("A reference is env:NAME, file:/absolute/path or sealed:TOKEN.")


def _check_variable(name: str) -> None:
    if not _ENVIRONMENT_NAME.fullmatch(name):
        raise Invalid("env: is followed by the name of a variable: letters, digits and _, not starting with a digit.")
    if name in _OWN_VARIABLES:
        raise Invalid(f"{name} belongs to the portal itself. Give the target's URL a variable of its own.")


def _check_path(path: str) -> None:
    if not path.startswith("/") or posixpath.normpath(path) != path:
        raise Invalid("file: is followed by an absolute path without . or .. in it, like /run/secrets/orders_url.")


def _box(keys: Sequence[str]) -> MultiFernet:
    if not keys:
        raise NoSealingKey
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise NoSealingKey from None
