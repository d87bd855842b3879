"""Whose address a request comes from, and what becomes of an error that a caller can act on: a page with the sentence on top."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin

from migrations_audit.access import actor_of
from migrations_audit.actions import audit
from migrations_audit.errors import Conflict, Denied, Invalid, NotFound, PortalError
from migrations_audit.web import pages, text

SAFE = ("GET", "HEAD")
TITLES = {
    403: "You may not do this",
    404: "There is no such page",
    405: "This address takes no such request",
    400: "That was not accepted",
    409: "Somebody was faster",
    503: "Not possible at the moment",
}
# One sentence for what is absent and for what is hidden: the answer must not tell which.
NOT_FOUND = "There is nothing here, or you may not see it. Check the address; an administrator can give you a role."

LISTS = {"audit/": "web:audit", "freeze/": "web:freeze"}
NOT_PRESSED = "You had been signed out, or came here by a link. Nothing was changed; press it again."
NO_SUCH_REQUEST = "The browser sent what this address does not take. Nothing was changed."


class AddressMiddleware(MiddlewareMixin):
    """Puts the address of the person into ``REMOTE_ADDR`` where PORTAL_TRUSTED_PROXIES proxies stand before the portal.

    Each of them appends the address from which it was asked. So only that many entries at the end of ``X-Forwarded-For`` were
    written by ours, and what stands before them is whatever the caller liked to send.
    """

    def process_request(self, request: HttpRequest) -> None:
        count = settings.PORTAL_TRUSTED_PROXIES
        if not count:
            return
        told = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
        if told and (address := _address(told[-min(count, len(told))])):
            request.META["REMOTE_ADDR"] = address


def _address(text: str) -> str:
    """An address as proxies write it, with or without brackets and a port; nothing for what is none."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


class VisibleTextMiddleware(MiddlewareMixin):
    """No page holds a character that is invisible or turns the direction of a line, through whichever template it came."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.streaming or not response.get("Content-Type", "").startswith("text/html"):
            return response
        page = response.content.decode(response.charset)
        if text.HIDDEN_IN_PAGES.search(page):
            response.content = text.HIDDEN_IN_PAGES.sub(lambda found: text.visible(found[0]), page)
        return response


class PortalErrorMiddleware(MiddlewareMixin):
    """Turns a PortalError of a view into an answer for people. A denied look leaves an event; a denied action left its own."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, PortalError):
            return None
        if request.method in SAFE and isinstance(exception, Denied | NotFound):
            exception = _recorded(request, exception)
        if isinstance(exception, Conflict) and request.method not in SAFE:
            messages.error(request, exception.message)
            return pages.SeeOther(_way_back(request))
        status = _status(exception)
        context = {
            "title": TITLES[status],
            "sentence": NOT_FOUND if status == 404 else exception.message,
            "way_back": _way_back(request) if status in (400, 403) and request.method not in SAFE else "",
        }
        return pages.show(request, "migrations_audit/error.html", context, status=status)


class WrongMethodMiddleware(MiddlewareMixin):
    """Whoever comes to a button's address with a GET, by a link or back from signing in, is led to the page with the button."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        place = request.resolver_match
        if response.status_code != 405 or place is None or place.app_name not in ("web", "admin"):
            return response
        if request.method == "GET" and place.app_name == "web":
            messages.warning(request, NOT_PRESSED)
            return pages.SeeOther(_way_back(request))
        context = {"title": TITLES[405], "sentence": NO_SUCH_REQUEST, "way_back": ""}
        page = pages.show(request, "migrations_audit/error.html", context, status=405)
        page["Allow"] = response["Allow"]
        return page


def _recorded(request: HttpRequest, error: PortalError) -> PortalError:
    """The same error once its event is in the chain; without the event, the error that says so."""
    route = request.resolver_match.route if request.resolver_match else ""
    try:
        audit.record_denial(
            actor=actor_of(request), verb=f"{request.method} {route}", error=error, object_id=request.path[:80]
        )
    except audit.AuditUnavailable as unavailable:
        return unavailable
    return error


def _way_back(request: HttpRequest) -> str:
    """The page of the object that the request was about."""
    about = request.resolver_match.kwargs if request.resolver_match else {}
    if "number" in about:
        return reverse("web:run", kwargs={"number": about["number"]})
    if "pk" in about:
        return reverse("web:target", kwargs={"pk": about["pk"]})
    route = request.resolver_match.route if request.resolver_match else ""
    return reverse(next((name for begin, name in LISTS.items() if route.startswith(begin)), "admin:index"))


def _status(error: PortalError) -> int:
    match error:
        case NotFound():
            return 404
        case Denied():
            return 403
        case Invalid():
            return 400
        case Conflict():
            return 409
        case _:
            return 503
