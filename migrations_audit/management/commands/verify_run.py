"""Have the target of a run of unknown outcome read now."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import runs
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Have a worker fence and read the target of a run whose outcome is unknown. Nothing is executed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)

    def act(self, **options: Any) -> Exit:
        run = runs.verify_again(actor=self.actor(options["person"]), number=options["number"])
        self.say(f"{run} is {run.get_state_display()}. A worker was asked to read {run.target} now.")
        return Exit.ANSWERED
