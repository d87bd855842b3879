"""Take a request back before it starts."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import runs
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Take a request back before it starts."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)
        parser.add_argument("--comment", default="")

    def act(self, **options: Any) -> Exit:
        run = runs.withdraw(actor=self.actor(options["person"]), number=options["number"], comment=options["comment"])
        self.say(f"{run} is {run.get_state_display()}. {run.sentence}")
        return Exit.ANSWERED
