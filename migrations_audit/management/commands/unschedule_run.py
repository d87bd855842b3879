"""Take a run off its schedule."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import schedules
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Take a run off its schedule. It stays approved."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)

    def act(self, **options: Any) -> Exit:
        run = schedules.unschedule(actor=self.actor(options["person"]), number=options["number"])
        self.say(f"{run} is {run.get_state_display()}. {run.sentence}")
        return Exit.ANSWERED
