"""The server that a rehearsal plays on: the environment's own for copies, or a private one for this rehearsal alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from migrations_audit.engine import references, target, urls
from migrations_audit.engine.rehearsing.types import Scratch
from migrations_audit.errors import PortalError
from migrations_audit.execution import places
from migrations_audit.models import Environment, Target, Tier
from migrations_audit.states import Engine


class NoScratch(PortalError):
    """There is no server on which a copy could be made."""

    code = "no_scratch_server"


class NotForCopies(PortalError):
    """The server for copies is one that must not take any."""

    code = "not_for_copies"


@contextmanager
def server_for(environment: Environment) -> Iterator[Scratch]:
    """A server for the copies of one rehearsal. Raises NoScratch, NotForCopies and CannotRead with the reason."""
    if environment.scratch_reference:
        yield _given(environment)
        return
    try:
        with _private() as (url, binaries):
            yield Scratch(owner=urls.parse(url), private=True, binaries=binaries)
    except PortalError as error:
        if error.code != "launch_failed":
            raise
        raise NoScratch(f"No private server for a copy could be started on this worker. {error.message}") from error


def _private() -> AbstractContextManager[tuple[str, Path]]:
    """The site says how; without a way there is none, and that is said."""
    if not settings.PORTAL_SCRATCH:
        raise NoScratch(
            "This worker makes no private servers (PORTAL_SCRATCH is empty), and the environment names none for copies."
        )
    make: Any = import_string(settings.PORTAL_SCRATCH)
    found: AbstractContextManager[tuple[str, Path]] = make()
    return found


def _given(environment: Environment) -> Scratch:
    """A server where production lives takes no copies: what is played there could reach it through the cluster."""
    url = references.resolve(
        environment.scratch_reference, environment=os.environ, unseal=places.unseal, sqlite_roots=()
    )
    if url.engine is not Engine.POSTGRESQL:
        raise NotForCopies("The server for copies is no PostgreSQL.")
    system = target.read(url, application_name=places.OBSERVER).identity.system_identifier
    productive = Target.objects.filter(environment__tier=Tier.PRODUCTION, identity__system_identifier=system)
    if not system or productive.exists():
        held = productive.first()
        raise NotForCopies(
            f"{url.display()} does not tell which server it is, so it takes no copies."
            if held is None
            else f"{url.display()} is on the same server as {held}, which is production: it takes no copies. Name another server."
        )
    return Scratch(owner=url, private=False)


def copy_name(subject: Target, scratch: Scratch, *, number: int) -> str:
    """What the copy is called: on a private server as its target, elsewhere so that two rehearsals never meet."""
    return places.url_of(subject).database if scratch.private else f"opsportal_rehearsal_{number}"
