"""From a reference to the secret behind it: a target's URL, a repository's key. Only a worker does this, in its memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from migrations_audit import sealing
from migrations_audit.engine import dialects, urls
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError

MAX_FILE_BYTES: Final = 8192


class CannotResolve(PortalError):
    """The reference does not lead to its secret here."""

    code = "cannot_resolve"


def resolve(
    reference: str,
    *,
    environment: Mapping[str, str],
    unseal: Callable[[str], str],
    sqlite_roots: Sequence[str] = (),
) -> TargetUrl:
    """Return the URL behind ``env:NAME``, ``file:PATH`` or ``sealed:TOKEN``. A SQLite file lies below one of ``sqlite_roots``.

    Raises errors.Invalid for a malformed reference, CannotResolve when it leads nowhere or to no acceptable URL, and what
    ``unseal`` raises. No message holds any part of the secret.
    """
    text = secret(reference, what="the URL", environment=environment, unseal=unseal)
    if reference.startswith("sealed:"):
        reference = "the sealed value"
    try:
        return dialects.parse(text, sqlite_roots=sqlite_roots)
    except urls.InvalidUrl as error:
        raise CannotResolve(f"{reference} does not hold a usable database URL. {error.message}") from None


def secret(reference: str, *, what: str, environment: Mapping[str, str], unseal: Callable[[str], str]) -> str:
    """Return the text behind ``env:NAME``, ``file:PATH`` or ``sealed:TOKEN``; ``what`` names it in sentences.

    Raises errors.Invalid for a malformed reference, CannotResolve when it leads nowhere, and what ``unseal`` raises.
    """
    sealing.check_reference(reference)
    kind, _, value = reference.partition(":")
    match kind:
        case "env":
            return _variable(value, environment)
        case "file":
            return _content(value, what)
        case _:
            return unseal(value)


def _variable(name: str, environment: Mapping[str, str]) -> str:
    text = environment.get(name, "")
    if not text:
        how = "is empty" if name in environment else "does not exist"
        raise CannotResolve(
            f"The variable {name} {how} in this worker. Set it where the worker of this environment's queue runs, and restart it."
        )
    return text


def _content(path: str, what: str) -> str:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CannotResolve(
                    f"{path} is not a regular file. Point the reference at a file that holds only {what}."
                )
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CannotResolve(
            f"This worker cannot read the file {path} ({error.strerror}). "
            f"Put {what} there on the machine where the worker of this environment's queue runs, readable for it."
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise CannotResolve(f"The file {path} is longer than {MAX_FILE_BYTES} bytes. It must hold only {what}.")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise CannotResolve(f"The file {path} is not UTF-8 text. It must hold only {what}.") from None
    if not text:
        raise CannotResolve(f"The file {path} is empty. It must hold {what}.")
    return text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe must not hold the worker
