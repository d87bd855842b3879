"""The backup before a run: a program of the worker's own, which the portal calls and whose answer it keeps."""

from __future__ import annotations

from typing import Final

from django.conf import settings

from migrations_audit.actions import attempts
from migrations_audit.actors import Actor
from migrations_audit.engine import bounded, folders
from migrations_audit.engine.redaction import clean
from migrations_audit.errors import PortalError
from migrations_audit.execution.executing import Ended
from migrations_audit.models import MigrationRun
from migrations_audit.states import RunState

LONGEST_REFERENCE: Final = 200
MAX_OUTPUT_BYTES: Final = 64 * 1024


def take(run: MigrationRun, *, actor: Actor) -> str:
    """Call PORTAL_BACKUP_HOOK with the target and the run, and keep the first line that it prints. Empty when there is no hook.

    Raises Ended when it ends with another code than 0, prints nothing, or takes too long: nothing was sent then.
    """
    if not settings.PORTAL_BACKUP_HOOK:
        return ""
    reference = _reference(run)
    attempts.note_backup(actor=actor, number=run.number, epoch=run.epoch, reference=reference)
    return reference


def _reference(run: MigrationRun) -> str:
    try:
        with folders.made("backup") as folder:
            ended = bounded.run(
                [settings.PORTAL_BACKUP_HOOK, str(run.target), str(run.number)],
                environment={"PATH": "/usr/local/bin:/usr/bin:/bin"},
                timeout_s=settings.PORTAL_BACKUP_HOOK_S,
                folder=folder,
                max_output_bytes=MAX_OUTPUT_BYTES,
            )
    except PortalError as error:
        raise _no_backup(run, error.message) from error
    first = clean(ended.stdout.decode("utf-8", "replace").strip().partition("\n")[0])[:LONGEST_REFERENCE]
    if ended.code:
        said = clean(ended.stderr.strip().rpartition("\n")[2])[:LONGEST_REFERENCE]
        raise _no_backup(run, f"It ended with code {ended.code}. {said}".strip())
    if not first:
        raise _no_backup(run, "It printed no reference.")
    return first


def _no_backup(run: MigrationRun, why: str) -> Ended:
    return Ended(
        RunState.REFUSED,
        "no_backup",
        f"Refused before anything was sent to {run.target}: the worker's backup program gave no backup. {why} "
        "Correct it on the worker, then request again.",
    )
