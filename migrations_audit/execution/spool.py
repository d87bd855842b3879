"""What a worker knows of a run that the portal's database does not take: kept in a file until it does.

The verdict never comes from here. It comes from reading the target, by this worker when the database is back or by a
reconciliation; the report then tells in the audit trail how the runner had ended.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from migrations_audit.actions import attempts
from migrations_audit.actors import Actor
from migrations_audit.errors import NotFound, PortalError
from migrations_audit.execution import places

logger = logging.getLogger(__name__)

SUFFIX: Final = ".report.json"


def folder() -> Path:
    """Where this worker keeps its reports; other accounts cannot read it."""
    chosen = Path(settings.PORTAL_SPOOL or os.path.join(tempfile.gettempdir(), f"opsportal-spool-{os.getuid()}"))
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    return chosen


def keep(*, number: int, epoch: int, facts: Mapping[str, Any]) -> Path:
    """Write a report that survives this process and this machine's crash, and return its file."""
    place = folder()
    path = place / f"{places.portal_key()}-run-{number}-e{epoch}{SUFFIX}"
    document = json.dumps({"portal": places.portal_key(), "run": number, "epoch": epoch, "facts": facts}, default=str)
    with tempfile.NamedTemporaryFile("w", dir=place, delete=False) as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def deliver(*, actor: Actor) -> int:
    """Hand in the reports that workers on this machine left behind; return how many. One that is damaged, or of a run
    that the portal does not know, is put aside."""
    place = folder()
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _deliver_all(place, actor=actor)
    except BlockingIOError:  # another worker of this machine is at it
        return 0
    finally:
        os.close(descriptor)


def _deliver_all(place: Path, *, actor: Actor) -> int:
    delivered = 0
    for path in sorted(place.glob(f"*{SUFFIX}")):
        try:
            report = json.loads(path.read_text())
            mine = report["portal"] == places.portal_key()
            number, epoch, facts = int(report["run"]), int(report["epoch"]), dict(report["facts"])
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read (%s); it is put aside.", path, type(error).__name__)
            path.rename(path.with_suffix(".damaged"))
            continue
        if not mine:
            continue
        try:
            attempts.deliver_report(actor=actor, number=number, epoch=epoch, facts=facts)
        except attempts.StillHeld:
            continue
        except NotFound as error:  # each further try would leave an event of its own in the trail
            logger.warning("The report %s is put aside: %s", path, error.message)
            path.rename(path.with_suffix(".unknown"))
            continue
        except PortalError as error:
            logger.warning("The report %s was not taken: %s", path, error.message)
            continue
        path.unlink(missing_ok=True)
        delivered += 1
    return delivered
