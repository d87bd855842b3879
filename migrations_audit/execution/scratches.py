"""The server that a rehearsal plays on: the environment's own for copies, or a private one for this rehearsal alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from migrations_audit.engine import references, target, urls
from migrations_audit.engine.rehearsing import copying
from migrations_audit.engine.rehearsing.types import Scratch
from migrations_audit.errors import PortalError
from migrations_audit.execution import places
from migrations_audit.models import Environment, Rehearsal, Target, Tier
from migrations_audit.states import Engine

logger = logging.getLogger(__name__)


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
    with ExitStack() as stack:
        try:
            url, binaries = stack.enter_context(_private())
        except NoScratch:
            raise
        except PortalError as error:
            raise NoScratch(f"No private server for a copy could be started on this worker. {error.message}") from error
        yield Scratch(owner=urls.parse(url), private=True, binaries=binaries)


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
    clients: Any = import_string(settings.PORTAL_CLIENTS)
    return Scratch(owner=url, private=False, binaries=clients())


def names(rehearsal: Rehearsal, scratch: Scratch) -> tuple[str, str]:
    """What the copy and its untouched twin are called: on a private server as the target is, elsewhere so that two never meet.

    Not even a worker that was taken for lost meets the one that took its rehearsal over.
    """
    copy, kept = _names(rehearsal.pk, rehearsal.epoch)
    return (places.url_of(rehearsal.run.target).database if scratch.private else copy), kept


def drop(scratch: Scratch, rehearsal: Rehearsal, *, epochs: Iterable[int]) -> None:
    """Remove the copies of these attempts from a shared server; a private one goes with all it has. A failure is only logged."""
    if scratch.private:
        return
    try:
        copying.drop([name for epoch in epochs for name in _names(rehearsal.pk, epoch)], scratch)
    except PortalError as error:
        logger.warning("Copies of %s are still on %s: %s", rehearsal, scratch.owner.display(), error.message)


def clear_up(rehearsal_id: int) -> None:
    """Remove the copies that lost workers left on a shared server, once their rehearsal has ended."""
    rehearsal = Rehearsal.objects.select_related("run__target__environment").get(pk=rehearsal_id)
    environment = rehearsal.run.target.environment
    if not rehearsal.has_ended or not rehearsal.epoch or not environment.scratch_reference:
        return
    try:
        drop(_given(environment), rehearsal, epochs=range(1, rehearsal.epoch + 1))
    except PortalError as error:
        logger.warning("Copies of %s may be left on the server for copies: %s", rehearsal, error.message)


def _names(number: int, epoch: int) -> tuple[str, str]:
    return f"opsportal_rehearsal_{number}_{epoch}", f"opsportal_kept_{number}_{epoch}"
