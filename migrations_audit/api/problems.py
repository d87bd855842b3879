"""Every refusal of the API in one shape: ``{"error": {"code", "message", "field"?}}``."""

from __future__ import annotations

import logging
import secrets
from urllib.parse import quote

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from migrations_audit.actions import audit, tokens
from migrations_audit.api import bearer
from migrations_audit.errors import Conflict, Denied, Invalid, NotFound, PortalError

logger = logging.getLogger(__name__)

UNAUTHORIZED = (
    "This needs a valid API token in the header Authorization: Bearer …. Make one in the portal; tokens expire, and they can be "
    "revoked."
)
NO_SUCH_PAGE = "The API has no such address. /api/v1/docs lists those that it has."


def response(status: int, code: str, message: str, *, field: str = "") -> HttpResponse:
    """One refusal."""
    error = {"code": code, "message": message} | ({"field": field} if field else {})
    return JsonResponse({"error": error}, status=status, json_dumps_params={"ensure_ascii": False})


def unauthorized() -> HttpResponse:
    """The same words for a token that is absent, unknown, expired, revoked or whose owner is gone."""
    answer = response(401, "unauthorized", UNAUTHORIZED)
    answer["WWW-Authenticate"] = 'Bearer realm="opsportal"'
    return answer


def handle_in(api: NinjaAPI) -> None:
    """Have every error of the API answered here."""
    for kind in (PortalError, AuthenticationError, ValidationError, HttpError, SuspiciousOperation, Exception):
        api.add_exception_handler(kind, _answer)


def _answer(request: HttpRequest, error: object) -> HttpResponse:
    match error:
        case tokens.TokenRefused():
            logger.warning("A token was refused (%s), asked from %s.", error.code, request.META.get("REMOTE_ADDR", ""))
            return unauthorized()
        case AuthenticationError():
            return unauthorized()
        case PortalError():
            return _portal_error(request, error)
        case ValidationError():
            return _validation_error(error)
        case HttpError():
            return response(error.status_code, "malformed", f"{error.message.rstrip('.')}.")
        case RequestDataTooBig():
            return response(413, "too_large", "The body is too large.")
        case SuspiciousOperation():
            return response(400, "malformed", "The request could not be read.")
        case _:
            return _unexpected(request, error)


def _portal_error(request: HttpRequest, error: PortalError) -> HttpResponse:
    if getattr(request, "is_look", False) and isinstance(error, Denied | NotFound):
        actor = bearer.actor_of(request)
        route = request.resolver_match.route if request.resolver_match else ""
        audit.record_denial(actor=actor, verb=f"GET {route}", error=error, object_id=quote(request.path)[:80])
    field = (error.field or "") if isinstance(error, Invalid) else ""
    # One sentence for what is hidden and for what is not there: the words must not tell which.
    message = NotFound().message if isinstance(error, NotFound) else error.message
    return response(_status(error), error.code, message, field=field)


def _status(error: PortalError) -> int:
    match error:
        case NotFound():
            return 404
        case Denied():
            return 403
        case Invalid():
            return 422
        case Conflict():
            return 409
        case _:
            return 503


def _validation_error(error: ValidationError) -> HttpResponse:
    first = error.errors[0]
    field = ".".join(str(part) for part in first["loc"][1:] if part not in ("payload", "asked"))
    words = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    return response(422, "invalid", f"{field or 'The body'}: {words}.", field=field)


def _unexpected(request: HttpRequest, error: object) -> HttpResponse:
    """An outermost frame: what happened goes to the log, and a number that finds it there to the caller."""
    request_id = secrets.token_hex(8)
    logger.error(
        "Request %s to %s failed.", request_id, request.path, exc_info=error if isinstance(error, Exception) else None
    )
    down = isinstance(error, OperationalError | InterfaceError)
    answer = response(
        503 if down else 500,
        "portal_unavailable" if down else "internal_error",
        f"The portal could not answer this request. Its log tells more under the number {request_id}.",
    )
    answer["X-Request-Id"] = request_id
    return answer
