"""From a target's reference to its URL. Only a worker does this; the secret stays in its memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from typing import Final

from migrations_audit import sealing
from migrations_audit.engine import urls
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError

MAX_FILE_BYTES: Final = 8192


class CannotResolve(PortalError):
    """The target's reference does not lead to a database URL here."""

    code = "cannot_resolve"


def resolve(reference: str, *, environment: Mapping[str, str], unseal: Callable[[str], str]) -> TargetUrl:
    """Return the URL behind ``env:NAME``, ``file:PATH`` or ``sealed:TOKEN``.

    Raises errors.Invalid for a malformed reference, CannotResolve when it leads nowhere or to no acceptable URL, and what
    ``unseal`` raises. No message holds any part of the secret.
    """
    sealing.check_reference(reference)
    kind, _, value = reference.partition(":")
    match kind:
        case "env":
            text = _variable(value, environment)
        case "file":
            text = _content(value)
        case _:
            reference, text = "the sealed value", unseal(value)
    try:
        return urls.parse(text)
    except urls.InvalidUrl as error:
        raise CannotResolve(f"{reference} does not hold a usable database URL. {error.message}") from None


def _variable(name: str, environment: Mapping[str, str]) -> str:
    text = environment.get(name, "")
    if not text:
        how = "is empty" if name in environment else "does not exist"
        raise CannotResolve(
            f"The variable {name} {how} in this worker. Set it where the worker of this environment's queue runs, and restart it."
        )
    return text


def _content(path: str) -> str:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CannotResolve(
                    f"{path} is not a regular file. Point the reference at a file that holds only the URL."
                )
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CannotResolve(
            f"This worker cannot read the file {path} ({error.strerror}). "
            "Put the URL there on the machine where the worker of this environment's queue runs, readable for it."
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise CannotResolve(f"The file {path} is longer than {MAX_FILE_BYTES} bytes. It must hold only the URL.")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise CannotResolve(f"The file {path} is not UTF-8 text. It must hold only the URL.") from None
    if not text:
        raise CannotResolve(f"The file {path} is empty. It must hold the URL.")
    return text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe must not hold the worker
