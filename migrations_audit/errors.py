"""The base of every error that a caller can expect. Concrete errors live beside the function that raises them."""

from __future__ import annotations

import inspect


class PortalError(Exception):
    """Something the caller can act on.

    ``code`` is stable and machine-readable; the message says what happened, to what, and what to do next.
    A subclass's docstring is its default message. No message ever holds a secret.
    """

    code = "portal_error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or " ".join(inspect.cleandoc(type(self).__doc__ or "").split())
        super().__init__(self.message)


class Denied(PortalError):
    """You are not allowed to do this."""

    code = "denied"


class NotFound(PortalError):
    """There is no such object, or you may not see it."""

    code = "not_found"


class Invalid(PortalError):
    """The input is not acceptable."""

    code = "invalid"

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Conflict(PortalError):
    """Somebody or something was faster. Reload the page and look again."""

    code = "conflict"
