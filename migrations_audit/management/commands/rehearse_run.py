"""Have the plan of a run rehearsed on a copy."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import rehearsals
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Have a worker play the plan of a run on a throw-away copy of its target. show_run tells what came of it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)

    def act(self, **options: Any) -> Exit:
        rehearsal = rehearsals.ask(actor=self.actor(options["person"]), number=options["number"])
        self.say(f"A worker was asked to rehearse the plan of {rehearsal.run} on a copy of {rehearsal.run.target}.")
        return Exit.ANSWERED
