"""From rows to what the engine needs: the URL of a target, the scripts of a project, the settings of a run."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from migrations_audit import sealing
from migrations_audit.actions import evidence
from migrations_audit.actors import Actor
from migrations_audit.engine import (
    configuration,
    environments,
    fence,
    git_authors,
    graph,
    isolation,
    references,
    snapshot,
    types,
)
from migrations_audit.engine.launch import Confinement
from migrations_audit.engine.requirements import BuildRefused
from migrations_audit.engine.urls import TargetUrl
from migrations_audit.errors import PortalError
from migrations_audit.execution import repositories
from migrations_audit.models import MigrationRun, Project, Snapshot, Target, Tier
from migrations_audit.models.projects import BUILT, Source
from migrations_audit.states import Isolation

logger = logging.getLogger(__name__)

OBSERVER = "opsportal:observer"


class NoInterpreter(PortalError):
    """The project's interpreter is not configured on this worker."""

    code = "no_interpreter"


class InterpreterChanged(PortalError):
    """This worker would build another interpreter than the approved one."""

    code = "interpreter_changed"


@dataclass(frozen=True)
class Interpreter:
    """A Python that runs a project's scripts. ``digest`` names one that a worker built, and is empty for any other."""

    path: str
    digest: str = ""


@dataclass(frozen=True)
class Scripts:
    """A project's scripts as they are now: stored, and read as a graph.

    ``commit`` is the one that a git ref led to, ``history`` who wrote each file as far as what was fetched tells.
    """

    snapshot: Snapshot
    graph: types.Graph
    commit: Mapping[str, str] = field(default_factory=dict)
    history: git_authors.History = field(default_factory=git_authors.History)

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
        target.url_reference, environment=os.environ, unseal=unseal, sqlite_roots=settings.PORTAL_SQLITE_ROOTS
    )


def unseal(token: str) -> str:
    return sealing.unseal(token, keys=settings.PORTAL_SEALING_KEYS)


def _git_key_of(project: Project) -> str:
    if not project.git_key:
        return ""
    return references.secret(project.git_key, what="the key or token", environment=os.environ, unseal=unseal)


def scripts_of(project: Project, *, actor: Actor, fresh: bool = True) -> Scripts:
    """Freeze the project's files, read their graph, and keep both. Raises PortalError when they cannot be had or frozen.

    Those of a git project are what its ref leads to now. Unless ``fresh``, what this worker found out about the ref within
    the last PORTAL_GIT_FRESH_S seconds counts as now.
    """
    found = (
        repositories.freeze(project, secret=lambda: _git_key_of(project), fresh=fresh)
        if project.source == Source.GIT
        else repositories.Frozen(_frozen_folder(project))
    )
    frozen = found.files
    read = graph.read(snapshot.files(frozen.archive), config_path=project.config_path, ini_section=project.ini_section)
    kept = evidence.keep_snapshot(
        actor=actor,
        project=project,
        digest=frozen.digest,
        archive=frozen.archive,
        files=[{"path": item.path, "sha256": item.sha256, "size": item.size} for item in frozen.files],
        graph=graph_as_dict(read),
        commit=found.commit,
    )
    return Scripts(snapshot=kept, graph=read, commit=found.commit, history=found.history)


def _frozen_folder(project: Project) -> types.Frozen:
    return snapshot.freeze(
        Path(project.folder),
        config_path=project.config_path,
        ini_section=project.ini_section,
        roots=[Path(root) for root in settings.PORTAL_PROJECT_ROOTS],
    )


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


def interpreter_of(target: Target, *, snapshot: Snapshot, approved: str | None = None) -> Interpreter:
    """The Python that runs the scripts of ``snapshot`` on ``target``, built from its requirements if the project wants that.

    ``approved`` is the digest that the plan holds: anything else is neither built nor used.
    Raises NoInterpreter, InterpreterChanged, and BuildRefused, NoCache or CacheBusy when it cannot be built.
    """
    project = target.project
    recipe = _recipe(target, snapshot) if project.interpreter == BUILT else None
    digest = recipe.digest if recipe is not None else ""
    if approved is not None and digest != approved:
        raise InterpreterChanged(
            f"The plan was made for the interpreter {approved[:12] or 'of the worker'}, and here it would be "
            f"{digest[:12] or 'another one'}: this worker's Python has another version, or the project changed. Plan again."
        )
    if recipe is not None:
        return Interpreter(environments.interpreter(recipe, cache=settings.PORTAL_CACHE), digest)
    if not project.interpreter:
        return Interpreter(sys.executable)
    path = settings.PORTAL_INTERPRETERS.get(project.interpreter)
    if path is None:
        raise NoInterpreter(
            f"The interpreter “{project.interpreter}” of {project} is not in PORTAL_INTERPRETERS on this worker. Add it there."
        )
    return Interpreter(str(path))


def _recipe(target: Target, kept: Snapshot) -> environments.Recipe:
    slug = target.project.slug
    names = ["PORTAL_BUILD_FOR"]
    if target.environment.tier == Tier.PRODUCTION:
        names.append("PORTAL_BUILD_FOR_PRODUCTION")
    for name in names:
        if slug not in getattr(settings, name):
            raise BuildRefused(
                "build_not_allowed",
                f"This worker may not build interpreters for {slug} in {target.environment.slug}: {name} does not name it. "
                "Add it there, or choose another interpreter for the project.",
            )
    return environments.recipe(snapshot.files(bytes(kept.archive)), path=target.project.requirements)


def worker_settings(target: Target) -> dict[str, str]:
    """What this worker is set to use for a run beside its scripts, as an approval binds it: programs by their paths."""
    named = target.project.interpreter
    path = settings.PORTAL_INTERPRETERS.get(named, "") if named != BUILT else ""
    return {"backup program": settings.PORTAL_BACKUP_HOOK, "interpreter": str(path)}


def unpack(kept: Snapshot, folder: Path) -> None:
    """Lay the files of a stored snapshot out in ``folder``. Raises SnapshotRefused when they are not what its digest says."""
    snapshot.unpack(
        bytes(kept.archive),
        digest=kept.digest,
        config_path=kept.project.config_path,
        ini_section=kept.project.ini_section,
        destination=folder,
    )


def confinement(demanded: str, *, interpreter: str) -> Confinement:
    """What keeps a runner apart on this worker. Raises IsolationMissing when that is less than ``demanded``."""
    wish = isolation_wish()
    found = isolation.choose(wish, interpreter=interpreter)
    if not found.level.covers(demanded):
        reason = isolation.why_not(Isolation(demanded), wish, interpreter=interpreter)
        raise isolation.IsolationMissing(
            f"The environment demands isolation {demanded} or more, and this worker has {found.level}. "
            f"{f'{demanded} does not work here: {reason}' if reason else 'PORTAL_ISOLATION keeps it at that.'}"
        )
    return found


def log_isolation() -> None:
    """Tell the log which isolation this worker has for its own interpreter, and what keeps it from more."""
    wish = isolation_wish()
    try:
        found = isolation.choose(wish, interpreter=sys.executable)
    except isolation.IsolationMissing as error:
        logger.error("Isolation: %s Until then this worker refuses every run.", error.message)
        return
    better = [level for level in Isolation if level != found.level and level.covers(found.level)]
    reasons = [f"{level}: {isolation.why_not(level, wish, interpreter=sys.executable)}" for level in better]
    logger.info("Isolation: %s. %s", found.level, " ".join(reasons if wish.level == isolation.AUTO else ()))


def isolation_wish() -> isolation.Wish:
    """What the settings of this worker ask for."""
    return isolation.Wish(
        level=settings.PORTAL_ISOLATION,
        user=settings.PORTAL_RUNNER_USER,
        readable=tuple(settings.PORTAL_RUNNER_PATHS),
    )


def tag_of(run: MigrationRun) -> str:
    """The application name of this attempt's sessions on the target."""
    return fence.tag(portal_key(), run.number, run.epoch)


def sessions_of(run: MigrationRun) -> tuple[types.RunSession, ...]:
    """The sessions of all attempts of this run, as they were stored before the project got them."""
    return tuple(types.RunSession(**stored) for stored in run.sessions)


def prefix_of(run: MigrationRun) -> str:
    """What the application names of all attempts of this run begin with."""
    return fence.prefix_for_run(portal_key(), run.number)


def portal_key() -> str:
    """This portal and no other on the same server, also when both were left with the default name."""
    return f"{settings.PORTAL_NAME}-{_mark_of(str(connection.settings_dict['NAME']))}"


@functools.cache
def _mark_of(name: str) -> str:
    """Eight characters that stand for the portal's own database: the same on every worker, whichever way it connects."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid::text FROM pg_database WHERE datname = current_database()")
        (oid,) = cursor.fetchone()
        cursor.execute("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
        (may_ask,) = cursor.fetchone()
        system = ""
        if may_ask:
            cursor.execute("SELECT system_identifier::text FROM pg_control_system()")
            (system,) = cursor.fetchone()
    return hashlib.sha256(f"{system}/{name}/{oid}".encode()).hexdigest()[:8]
