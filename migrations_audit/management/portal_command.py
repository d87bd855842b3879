"""What the portal's commands share: the acting person, the exit codes, and text that no terminal misreads.

What a script needs goes alone to standard output. A sentence goes there when it is the answer, else to standard error.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from migrations_audit.actors import Actor, ActorKind
from migrations_audit.errors import PortalError


class Exit(IntEnum):
    """The exit codes. docs/commands.md says which command ends with which; they do not change."""

    ANSWERED = 0
    REFUSED = 1
    USAGE = 2
    PORTAL_UNAVAILABLE = 3
    BEHIND = 10
    OTHER_REVISION = 11
    COULD_NOT_READ = 12
    WRONG_DATABASE = 13


class PortalCommand(BaseCommand):
    """A command whose refusals end with a sentence and a code. ``act`` does the work and returns the exit code."""

    requires_system_checks = ()
    refused = Exit.REFUSED
    unavailable = Exit.PORTAL_UNAVAILABLE

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Options are taken as they are written in full: no abbreviation turns a typing error into another option."""
        return super().create_parser(prog_name, subcommand, **{"allow_abbrev": False, **kwargs})

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            code = self.act(**options)
        except PortalError as error:
            raise CommandError(f"{printable(error.message)} ({error.code})", returncode=self.refused) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                "The portal's own database does not answer. Look at DATABASE_URL and at that server.",
                returncode=self.unavailable,
            ) from error
        if code is not Exit.ANSWERED:
            raise SystemExit(int(code))

    def act(self, **options: Any) -> Exit:
        """Do what the command is for. Raises PortalError."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """One line of the answer, to standard output."""
        self.stdout.write(printable(text))

    def remark(self, text: str) -> None:
        """One line beside the answer, to standard error."""
        self.stderr.write(printable(text), self.style.NOTICE)


class PersonalCommand(PortalCommand):
    """A command that somebody answers for. ``--as`` is not a login: who runs it has the server's shell, and the audit says so."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--as",
            dest="person",
            metavar="USERNAME",
            required=True,
            help="The person in whose name and with whose rights.",
        )

    def actor(self, person: str) -> Actor:
        """The acting person. Raises CommandError with the exit code for wrong usage when there is none."""
        found = get_user_model()._default_manager.filter(username=person.replace("\x00", ""), is_active=True).first()
        if found is None:
            raise CommandError(f"There is no active person {printable(person)}.", returncode=Exit.USAGE)
        return Actor(kind=ActorKind.COMMAND, name=found.get_username(), user_id=found.pk)


def printable(text: str) -> str:
    """The text with everything that could steer a terminal or reorder a line written out; line feeds stay."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
