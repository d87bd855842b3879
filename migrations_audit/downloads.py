"""Downloads that are streamed in bounded memory, whichever server interface asks."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, StreamingHttpResponse

LINES_AT_ONCE = 1_000


def streamed(
    request: HttpRequest, *, filename: str, content_type: str, lines: Iterator[bytes]
) -> StreamingHttpResponse:
    """A download under a name that the portal made; nothing of it is kept in a cache on the way."""
    content = _asynchronously(lines) if isinstance(request, ASGIRequest) else lines
    return StreamingHttpResponse(
        content,
        content_type=content_type,
        headers={"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"},
    )


async def _asynchronously(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Under ASGI Django would first collect everything that a plain iterator yields."""

    def take() -> bytes:
        try:
            return b"".join(itertools.islice(lines, LINES_AT_ONCE))
        finally:
            close_old_connections()  # a slow reader must not keep one

    while block := await sync_to_async(take)():
        yield block
