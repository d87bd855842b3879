"""From rows to what the engine needs: the URL of a target, the scripts of a project, the settings of a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from migrations_audit import sealing
from migrations_audit.actions import evidence
from migrations_audit.actors import Actor
from migrations_audit.engine import configuration, fence, graph, references, snapshot, types
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.models import MigrationRun, Project, Snapshot, Target

OBSERVER = "opsportal:observer"


class NoInterpreter(PortalError):
    """The project's interpreter is not configured on this worker."""

    code = "no_interpreter"


@dataclass(frozen=True)
class Scripts:
    """A project's scripts as they are now: stored, and read as a graph."""

    snapshot: Snapshot
    graph: types.Graph

    @property
    def configuration(self) -> configuration.ScriptConfiguration:
        """Where Alembic looks, by the snapshot's own files."""
        project = self.snapshot.project
        files = snapshot.files(bytes(self.snapshot.archive))
        return configuration.read(files, config_path=project.config_path, ini_section=project.ini_section)

    @property
    def fatal(self) -> types.Problem | None:
        return next((problem for problem in self.graph.problems if problem.fatal), None)


def url_of(target: Target) -> TargetUrl:
    """The URL behind a target's reference, in this worker. Raises PortalError without any part of the secret."""
    return references.resolve(
        target.url_reference,
        environment=os.environ,
        unseal=lambda token: sealing.unseal(token, keys=settings.PORTAL_SEALING_KEYS),
    )


def scripts_of(project: Project, *, actor: Actor) -> Scripts:
    """Freeze the project's folder, read its graph, and keep both. Raises PortalError when the folder cannot be frozen."""
    frozen = snapshot.freeze(
        Path(project.folder),
        config_path=project.config_path,
        ini_section=project.ini_section,
        roots=[Path(root) for root in settings.PORTAL_PROJECT_ROOTS],
    )
    read = graph.read(snapshot.files(frozen.archive), config_path=project.config_path, ini_section=project.ini_section)
    kept = evidence.keep_snapshot(
        actor=actor,
        project=project,
        digest=frozen.digest,
        archive=frozen.archive,
        files=[{"path": item.path, "sha256": item.sha256, "size": item.size} for item in frozen.files],
        graph=graph_as_dict(read),
    )
    return Scripts(snapshot=kept, graph=read)


def graph_as_dict(read: types.Graph) -> dict[str, Any]:
    """A graph as it is stored beside its snapshot."""
    facts = {
        "heads": read.heads,
        "revisions": [item.as_dict() for item in read.revisions],
        "problems": [vars(problem) for problem in read.problems],
    }
    result: dict[str, Any] = json.loads(json.dumps(facts))
    return result


def graph_from_dict(stored: dict[str, Any]) -> types.Graph:
    """A stored graph, as the engine knows it."""
    return types.Graph(revisions=tuple(_revision(item) for item in stored["revisions"]), heads=tuple(stored["heads"]))


def _revision(stored: dict[str, Any]) -> types.Revision:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    return types.Revision(**values)


def graph_that_knows(project: Project, rows: Iterable[str]) -> types.Graph | None:
    """The newest stored graph of the project that has all these revisions; it tells "ahead" from "unknown revision"."""
    wanted = set(rows)
    for stored in Snapshot.objects.filter(project=project).only("graph").order_by("-at")[:50]:
        if wanted <= {item["revision"] for item in stored.graph["revisions"]}:
            return graph_from_dict(stored.graph)
    return None


def interpreter_of(project: Project) -> str:
    """The Python that runs the project's scripts. Raises NoInterpreter for a name that this worker does not have."""
    if not project.interpreter:
        return sys.executable
    path = settings.PORTAL_INTERPRETERS.get(project.interpreter)
    if path is None:
        raise NoInterpreter(
            f"The interpreter “{project.interpreter}” of {project} is not in PORTAL_INTERPRETERS on this worker. Add it there."
        )
    return str(path)


def tag_of(run: MigrationRun) -> str:
    """The application name of this attempt's sessions on the target."""
    return fence.tag(settings.PORTAL_NAME, run.number, run.epoch)


def prefix_of(run: MigrationRun) -> str:
    """What the application names of all attempts of this run begin with."""
    return fence.prefix_for_run(settings.PORTAL_NAME, run.number)
