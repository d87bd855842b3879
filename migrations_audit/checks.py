"""System checks: what must hold before the portal is trusted. ``manage.py check --database default`` runs all of them."""

from __future__ import annotations

import posixpath
import secrets
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections
from django.db.migrations.executor import MigrationExecutor

from migrations_audit import remotes, sealing
from migrations_audit.errors import PortalError

APP: Final = "migrations_audit"
APPEND_ONLY: Final = (
    "auditevent",
    "observation",
    "evidence",
    "catalog",
    "snapshot",
    "plan",
    "logline",
    "revisiondelta",
    "glassreview",
)
CHECKED: Final = ("migrationrun", "approval", "rehearsal", "findingacceptance")
GUARDS: Final = frozenset(
    {f"{table}_append_only" for table in APPEND_ONLY}
    | {f"{table}_never_emptied" for table in (*APPEND_ONLY, *CHECKED)}
    | {f"{table}_{what}" for table in CHECKED for what in ("check", "keep")}
    | {"auditevent_check_link", "migrationrun_glass", "glassreview_check"}
)
"""The triggers that make a record a record. tests/project/test_system_checks.py compares them with the database's."""


@register(Tags.security)
def check_sealing(**_: Any) -> list[CheckMessage]:
    """Seal a random text and look at the result: encryption that is silently off must stop the start."""
    keys = settings.PORTAL_SEALING_KEYS
    if not keys:
        return [
            Warning(
                "PORTAL_SEALING_KEYS is empty, so no URL can be sealed.",
                hint="Targets can still use env:NAME and file:/path. docs/settings.md says how to make a key.",
                id="portal.W001",
            )
        ]
    canary = secrets.token_hex(16)
    try:
        token = sealing.seal(canary, keys=keys)
        opened = sealing.unseal(token, keys=keys)
    except PortalError as error:
        return [Error(error.message, id="portal.E001")]
    if canary in token or opened != canary:
        return [Error("Sealing does not protect what it is given: the sealed text can be read.", id="portal.E002")]
    return []


def refuse_open_seals() -> None:
    """Seal and look, at every start of every process. Raises ImproperlyConfigured: web and workers run no system checks."""
    for found in check_sealing():
        if isinstance(found, Error):
            raise ImproperlyConfigured(f"PORTAL_SEALING_KEYS: {found.msg}")


@register(Tags.security)
def check_project_roots(**_: Any) -> list[CheckMessage]:
    """Every root is an absolute path that says exactly where it is."""
    roots: Sequence[str] = settings.PORTAL_PROJECT_ROOTS
    if not roots and not settings.PORTAL_GIT_HOSTS:
        return [
            Warning(
                "PORTAL_PROJECT_ROOTS and PORTAL_GIT_HOSTS are empty, so no project can be registered.",
                hint="Name the folders on the workers under which projects lie, or the hosts of their repositories.",
                id="portal.W002",
            )
        ]
    return [
        Error(
            f"PORTAL_PROJECT_ROOTS holds {root!r}; give absolute paths without . and .., and not / itself.",
            id="portal.E003",
        )
        for root in roots
        if not root.startswith("/") or posixpath.normpath(root) != root.rstrip("/") or root.strip("/") == ""
    ]


@register(Tags.security)
def check_repositories(**_: Any) -> list[CheckMessage]:
    """The hosts of repositories are hosts, and there is a place to keep what comes from them."""
    found: list[CheckMessage] = [
        Error(f"PORTAL_GIT_HOSTS holds {entry!r}; give host or host:port, in lower case.", id="portal.E007")
        for entry in settings.PORTAL_GIT_HOSTS
        if not remotes.is_host(entry)
    ]
    cache = settings.PORTAL_CACHE
    if cache and (not cache.startswith("/") or posixpath.normpath(cache) != cache.rstrip("/")):
        found.append(
            Error("PORTAL_CACHE must be an absolute path that holds neither . nor .. as a part.", id="portal.E008")
        )
    if not cache and (settings.PORTAL_GIT_HOSTS or settings.PORTAL_BUILD_FOR):
        found.append(
            Warning(
                "PORTAL_CACHE is empty, so a worker with these settings neither fetches repositories nor builds interpreters.",
                hint="Set it on the workers to a folder that belongs to them.",
                id="portal.W003",
            )
        )
    return found


@register(Tags.compatibility)
def check_broker(**_: Any) -> list[CheckMessage]:
    """Wake-ups need a Redis; the address is never repeated, because it may hold a password."""
    if str(settings.REDIS_URL).partition("://")[0] not in ("redis", "rediss"):
        return [Error("REDIS_URL must begin with redis:// or rediss://.", id="portal.E004")]
    return []


@register(Tags.database)
def check_guards(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Every guard of the records is in the database and switched on."""
    found: list[CheckMessage] = []
    for alias in databases or []:
        try:
            found += _missing_guards(alias)
        except OperationalError:
            found.append(
                Error(
                    "The portal's database does not answer, so its guards could not be checked.",
                    hint="Look at DATABASE_URL and at the server.",
                    id="portal.E005",
                )
            )
    return found


def _missing_guards(alias: str) -> list[CheckMessage]:
    connection = connections[alias]
    executor = MigrationExecutor(connection)
    wanted = [node for node in executor.loader.graph.leaf_nodes() if node[0] == APP]
    if executor.migration_plan(wanted):
        return []  # "migrate" runs this check before it makes the triggers
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND relname LIKE 'migrations\\_audit\\_%'"
        )
        present = {name for (name,) in cursor.fetchall()}
    return [
        Error(
            f"The trigger {name} is absent or switched off, so a record could be changed.",
            hint="Find out who removed it, then verify the audit chain before you trust it (manage.py verify_audit).",
            id="portal.E006",
        )
        for name in sorted(GUARDS - present)
    ]
