"""The API put together."""

from __future__ import annotations

from ninja import NinjaAPI

from migrations_audit.api import audit, bearer, findings, freezes, problems, runs, targets

api = NinjaAPI(
    title="Opsportal",
    version="1",
    description=(
        "Everything that the browser can do, except deciding: a token requests and runs, and never approves. "
        "Every refusal has one shape, error with code, message and sometimes field."
    ),
    docs_url=None,
    openapi_url=None,
    auth=bearer.Bearer(),
)
problems.handle_in(api)
for router in (targets.router, runs.router, findings.router, freezes.router, audit.router):
    api.add_router("", router)
