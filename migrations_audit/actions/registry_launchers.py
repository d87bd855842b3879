"""How a project is launched: what the registry accepts as its own command and as further ``-x`` arguments."""

from __future__ import annotations

import re
from typing import Final

from migrations_audit.errors import Invalid
from migrations_audit.models import Project
from migrations_audit.models.projects import Delivery, Launcher

MOST_WORDS: Final = 50
LONGEST_WORD: Final = 500
_PLACE: Final = re.compile(r"\{[^}]*\}")
_PLACES: Final = ("{direction}", "{revision}")
_SCRIPT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FILE: Final = re.compile(r"(?!/)(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*\.py")
_X_ARGUMENT: Final = re.compile(r"[A-Za-z0-9_.-]+(?:=.*)?")


def check_launcher(project: Project) -> None:
    """Raise Invalid for a command that a runner could not call, or for further arguments that Alembic could not take."""
    _check_words(project.command, field="command")
    _check_words(project.x_arguments, field="x_arguments")
    for argument in project.x_arguments:
        if not _X_ARGUMENT.fullmatch(argument):
            raise Invalid("A further -x argument is written as key=value, one per line.", field="x_arguments")
    if project.launcher == Launcher.ALEMBIC:
        if project.command:
            raise Invalid(
                "Alembic is the launcher, so there is no command. Empty it, or choose the command.", field="command"
            )
        return
    _check_command(project)


def _check_command(project: Project) -> None:
    if not project.command:
        raise Invalid("Write the project's own command, one word per line.", field="command")
    first = project.command[0]
    if first == "-m":
        if len(project.command) < 2 or not _SCRIPT.fullmatch(project.command[1]):
            raise Invalid("After -m comes the name of a module.", field="command")
    elif not (_FILE.fullmatch(first) or (_SCRIPT.fullmatch(first) and not first.endswith(".py"))):
        raise Invalid(
            "A command begins with a console script of the interpreter (flask), a .py file of the folder, or -m and a module.",
            field="command",
        )
    for word in project.command:
        if any(place not in _PLACES for place in _PLACE.findall(word)):
            raise Invalid("Only {direction} and {revision} are filled in.", field="command")
    if project.url_delivery != Delivery.ENVIRONMENT:
        raise Invalid(
            "A command of the project's own takes the URL from its settings: deliver it as an environment variable.",
            field="url_delivery",
        )
    if project.x_arguments:
        raise Invalid(
            "A command of the project's own takes no -x arguments from here; write them into it.", field="x_arguments"
        )


def _check_words(words: object, *, field: str) -> None:
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise Invalid("Write one word per line.", field=field)
    if len(words) > MOST_WORDS or any(len(word) > LONGEST_WORD or not word.isprintable() for word in words):
        raise Invalid(
            f"At most {MOST_WORDS} words of at most {LONGEST_WORD} printable characters are accepted.", field=field
        )
