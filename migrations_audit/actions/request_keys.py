"""Keys by which a program asks again without asking twice (the header ``Idempotency-Key``)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from migrations_audit import hashchain
from migrations_audit.errors import Invalid
from migrations_audit.models import MigrationRun

# The first half of a two-integer advisory lock; the second is the beginning of the key. 0x4F50 is for the locks that stand alone.
_LOCK: Final = 0x4F4B

_KEY: Final = re.compile(r"[!-~]{1,255}")


class RequestKeyReused(Invalid):
    """This key came with another request before. Send a new key with a new request."""

    code = "idempotency_key_reused"


@dataclass(frozen=True)
class RequestKey:
    """A key and what it came with, as they are stored: digests, for what a program sends as a key may be anything."""

    key: str
    digest: str


def of(key: str, *, request: dict[str, Any]) -> RequestKey:
    """The key of one request, empty if none was given. Raises Invalid for what is no key."""
    if not key:
        return RequestKey("", "")
    if not _KEY.fullmatch(key):
        raise Invalid(
            "An Idempotency-Key has 1 to 255 printable ASCII characters without spaces.", field="Idempotency-Key"
        )
    return RequestKey(hashlib.sha256(key.encode()).hexdigest(), hashchain.digest(hashchain.canonical(request)))


def earlier(key: RequestKey, *, requester_id: int | None) -> MigrationRun | None:
    """The run that this person asked for with this key. Raises RequestKeyReused when it was another request.

    Until the transaction ends nobody else asks with the same key.
    """
    if not key.key:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, int(key.key[:7], 16)])
    run = MigrationRun.objects.filter(requester_id=requester_id, request_key=key.key).first()
    if run is not None and run.request_digest != key.digest:
        raise RequestKeyReused(field="Idempotency-Key")
    return run
