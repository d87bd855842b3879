"""The audit out, and the program that checks it."""

from __future__ import annotations

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router

from migrations_audit import downloads, exports, hashchain
from migrations_audit.api import bearer, inputs

router = Router(tags=["Audit"])


@router.get("/audit/export", summary="Export the audit")
def export(request: HttpRequest, asked: Query[inputs.ExportAsked]) -> HttpResponseBase:
    """The audit events that match, as a stream. Needs the scope export, and an auditor or administrator behind the token.

    JSON Lines begin with a manifest and hold the chain from the first to the last match without a gap; bodies that do not match
    or are not for you are withheld. That the export was asked for is an audit event itself.
    """
    filters = exports.Filters(
        actor=asked.actor,
        action=asked.action,
        environment=asked.environment,
        target=asked.target,
        run=asked.run,
        since=asked.since,
        until=asked.until,
    )
    made = exports.export(actor=bearer.actor_of(request), filters=filters, form=asked.form)
    return downloads.streamed(request, filename=made.filename, content_type=made.content_type, lines=made.lines)


@router.get("/audit/verifier", auth=None, summary="Download the verifier")
def verifier(request: HttpRequest) -> HttpResponse:
    """One file of Python, without dependencies: python3 hashchain.py export.jsonl. It is public and holds no data."""
    return HttpResponse(
        Path(hashchain.__file__).read_bytes(),
        content_type="text/x-python; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="hashchain.py"'},
    )
