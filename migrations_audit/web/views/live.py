"""The live view of a run: an HTML fragment, the log as JSON and as a file, and the stream that tells of news."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from migrations_audit import access, downloads
from migrations_audit.access import actor_of
from migrations_audit.models import LogLine
from migrations_audit.models.clock import database_now
from migrations_audit.queries import live
from migrations_audit.web import stream
from migrations_audit.web.pages import show
from migrations_audit.web.text import visible
from migrations_audit.web.views import runs


@require_safe
def fragment(request: HttpRequest, number: int) -> HttpResponse:
    """The parts of the run page that change while it is open."""
    run = access.get_run_for(actor_of(request), number)
    return show(request, "migrations_audit/run/live.html", runs.context_of(request, run))


MOST_STREAMS_OF_A_PERSON = 20
MOST_STREAMS = 400
"""Of one web process. Each holds a connection to Redis, which is the workers' broker too."""

_open_streams: Counter[int | None] = Counter()


async def _counted(lines: AsyncIterator[str], user_id: int | None) -> AsyncIterator[str]:
    _open_streams[user_id] += 1
    try:
        async for line in lines:
            yield line
    finally:
        _open_streams[user_id] -= 1


@require_safe
async def events(request: HttpRequest, number: int) -> HttpResponseBase:
    """The run as server-sent events: ``log`` lines, ``state`` changes, and one ``end``. ``Last-Event-ID`` goes on from there."""
    user_id = await sync_to_async(_reader_of)(request, number)
    if _open_streams[user_id] >= MOST_STREAMS_OF_A_PERSON or _open_streams.total() >= MOST_STREAMS:
        return HttpResponse(
            "Too many live logs are open. Reload the page to see the rest.\n", status=429, headers={"Retry-After": "30"}
        )
    after = _after(request.headers.get("Last-Event-ID") or request.GET.get("after", ""))
    lines = stream.events_of(number, user_id=user_id, after=after, session_key=request.session.session_key)
    response = StreamingHttpResponse(_counted(lines, user_id), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


@require_safe
def log(request: HttpRequest, number: int) -> JsonResponse:
    """Log lines after ``?after=N`` and the present state, for curl and for a proxy that keeps streams back."""
    actor = actor_of(request)
    access.get_run_for(actor, number)
    after = _after(request.GET.get("after", ""))
    seen = live.glance(number, user_id=actor.user_id, after=after, patience=live.Patience(), now=database_now())
    lines = [stream.line_of(line) for line in seen.lines] if seen else []
    return JsonResponse(
        {
            "run": number,
            "lines": lines,
            "next_after": lines[-1]["seq"] if lines else after,
            "more": bool(seen and seen.more),
            "ended": bool(seen and seen.is_over),
            "state": seen.state if seen else None,
        }
    )


@require_safe
def log_file(request: HttpRequest, number: int) -> StreamingHttpResponse:
    """The whole log as a text file, in the order in which it was written."""
    run = access.get_run_for(actor_of(request), number)
    return downloads.streamed(
        request,
        filename=f"run-{run.number}.log",
        content_type="text/plain; charset=utf-8",
        lines=_text(live.lines_of(run.number)),
    )


def _text(lines: Iterable[LogLine]) -> Iterator[bytes]:
    for line in lines:
        yield f"{line.at:%Y-%m-%dT%H:%M:%S.%fZ} {line.stream}: {visible(line.text)}\n".encode()


def _reader_of(request: HttpRequest, number: int) -> int | None:
    """The person, after the same questions that the page asks."""
    actor = actor_of(request)
    if not admin.site.has_permission(request):
        raise access.Hidden
    access.get_run_for(actor, number)
    return actor.user_id


def _after(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
