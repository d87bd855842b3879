"""The project's own command, filled in for one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from migrations_audit.engine.configuration import ScriptConfiguration
from migrations_audit.errors import PortalError
from migrations_audit.models import Project
from migrations_audit.models.projects import Launcher
from migrations_audit.states import Operation

DIRECTIONS: Final[Mapping[Operation, str]] = {
    Operation.UPGRADE: "upgrade",
    Operation.ROLLBACK: "downgrade",
    Operation.ADOPT: "stamp",
}
"""Alembic's own words."""


class CommandCannot(PortalError):
    """The project's command cannot be told what this run is to do."""

    code = "command_cannot"


def words(project: Project, *, operation: Operation, destination: str) -> tuple[str, ...]:
    """The command with ``{direction}`` and ``{revision}`` filled in; empty for a project that Alembic itself launches.

    A command without ``{direction}`` upgrades, one without ``{revision}`` goes to the heads. Raises CommandCannot.
    """
    if project.launcher != Launcher.COMMAND:
        return ()
    placed = " ".join(project.command)
    if operation is not Operation.UPGRADE and "{direction}" not in placed:
        raise CommandCannot(
            f"The command of {project} can only upgrade. Write {{direction}} where it takes upgrade, downgrade or stamp."
        )
    filled = {"{direction}": DIRECTIONS[operation], "{revision}": destination}
    return tuple(_filled(word, filled) for word in project.command)


def working_directory(project: Project, configuration: ScriptConfiguration) -> str:
    """Where the runner is started, relative to the project's folder: a command of the project's own in that folder itself."""
    return "." if project.launcher == Launcher.COMMAND else configuration.working_directory


def _filled(word: str, filled: Mapping[str, str]) -> str:
    for name, value in filled.items():
        word = word.replace(name, value)
    return word
