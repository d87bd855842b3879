"""The SQL that Alembic writes in its offline mode: for a plan, and once more before the plan is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrations_audit.engine import folders, process, types
from migrations_audit.engine.launch import Confinement
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.execution import places, runner_request
from migrations_audit.models import MigrationRun
from migrations_audit.models.projects import Launcher
from migrations_audit.states import Operation


def why_none(run: MigrationRun, resolution: types.Resolution) -> str:
    """Why there is no such SQL of what ``run`` asks for; empty when it can be asked for."""
    if resolution.operation is Operation.ADOPT:
        return "Only the version table is written; no revision is executed."
    if run.target.project.launcher == Launcher.COMMAND:
        return "The project's own command knows no offline mode."
    if len(resolution.start) > 1 or len(resolution.destination) != 1:
        return "Offline mode takes one starting revision and one destination; this plan has more."
    return ""


def sql(
    run: MigrationRun,
    resolution: types.Resolution,
    *,
    url: TargetUrl,
    identity: Mapping[str, Any],
    scripts: places.Scripts,
    interpreter: str,
    confinement: Confinement,
) -> process.OfflineResult:
    """The SQL of ``resolution``, whole or not at all: a partial one would look like the truth. Nothing is connected to."""
    configuration = scripts.configuration
    with folders.made("plan") as scratch:
        folder = scratch / "snapshot"
        places.unpack(scripts.snapshot, folder)
        return process.offline_sql(
            request=runner_request.offline(
                run=run, url=url, identity=identity, resolution=resolution, configuration=configuration
            ),
            interpreter=interpreter,
            confinement=confinement,
            snapshot=folder,
            folder=folder / configuration.working_directory,
            limits=runner_request.OFFLINE_LIMITS,
        )
