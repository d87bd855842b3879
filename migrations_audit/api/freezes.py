"""Whether the portal is frozen, to look at. A token neither freezes nor thaws."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from migrations_audit.api import bearer, schemas_before
from migrations_audit.models.clock import database_now
from migrations_audit.queries import openings

router = Router(tags=["Freeze"])


@router.get("/freeze", response=schemas_before.Freeze, summary="Show the freeze")
def show_freeze(request: HttpRequest) -> schemas_before.Freeze:
    """While the portal is frozen no run starts: Run now is answered with 409 `frozen`."""
    bearer.reader(request)
    return schemas_before.Freeze.of(openings.freeze_at(database_now()))
