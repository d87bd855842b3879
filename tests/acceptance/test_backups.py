"""The worker's own backup program before a run: what it answers is kept, and without an answer nothing is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrations_audit.models import AuditEvent
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.reliability import truth
from tests.reliability.conftest import StartWorker, start_worker

__all__ = ["start_worker"]


def program(folder: Path, *lines: str) -> str:
    path = folder / "backup"
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


def test_its_first_line_is_kept_with_the_position_in_the_wal(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    url = make_target_database("backed_up")
    start_worker(PORTAL_BACKUP_HOOK=program(tmp_path, 'echo "base-backup of $1 for $2"', "env"))
    place = portal.place(url, runnable.chain("users"))

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.backup_reference == f"base-backup of {run.target} for {run.number}"
    assert AuditEvent.objects.filter(action="run.backed_up", object_id=str(run.number)).count() == 1
    assert "/" in run.observations.get(purpose="preflight").facts["wal_position"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["echo no space left >&2", "exit 3"], "It ended with code 3. no space left"),
        (["true"], "It printed no reference."),
        (["sleep 600"], "It took longer than 1 s."),
    ],
)
def test_without_a_backup_nothing_is_sent(
    portal: Portal,
    start_worker: StartWorker,
    make_target_database: MakeTargetDatabase,
    tmp_path: Path,
    lines: list[str],
    why: str,
) -> None:
    url = make_target_database("no_backup")
    start_worker(PORTAL_BACKUP_HOOK=program(tmp_path, *lines), PORTAL_BACKUP_HOOK_S="1")
    place = portal.place(url, runnable.chain("users"))

    run = portal.ended(place)

    assert (run.state, run.reason_code) == ("refused", "no_backup"), run.sentence
    assert why in run.sentence
    assert truth.tables(url) == set()
