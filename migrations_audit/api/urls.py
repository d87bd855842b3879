"""The addresses under /api/v1/. None of them needs a session, except the page that describes the API."""

from __future__ import annotations

import functools
from collections.abc import Callable

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, include, path, re_path
from django.views.decorators.csrf import csrf_exempt

from migrations_audit.api import pages, problems
from migrations_audit.api.portal import api

View = Callable[..., HttpResponseBase]


def _answering(view: View) -> View:
    """The view with the API's shape for a wrong method, kept out of every cache; it authenticates by itself."""

    @functools.wraps(view)
    def answering(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        answer = view(request, *args, **kwargs)
        if answer.status_code == 405:
            allowed = ", ".join(sorted(answer["Allow"].split(", ")))
            answer = problems.response(405, "method_not_allowed", f"This address takes {allowed}.")
            answer["Allow"] = allowed
        if not answer.has_header("Cache-Control"):
            answer["Cache-Control"] = "no-store"
        return answer

    return csrf_exempt(login_not_required(answering))


def _nowhere(request: HttpRequest) -> HttpResponseBase:
    return problems.response(404, "not_found", problems.NO_SUCH_PAGE)


def _endpoints() -> list[URLPattern]:
    patterns = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern) and pattern.name != "api-root"]
    for pattern in patterns:
        pattern.callback = _answering(pattern.callback)
    return patterns


_all = [
    path("docs", pages.docs, name="docs"),
    path("openapi.json", _answering(pages.openapi), name="openapi"),
    *_endpoints(),
    re_path("", _answering(_nowhere)),
]
urlpatterns = [path("", include((_all, "api")))]
