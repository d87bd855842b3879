"""Start an approved run later."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import schedules
from migrations_audit.management.moments import moment
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Have an approved run started later. The digest is that of the plan that you saw; show_run prints it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)
        parser.add_argument("--digest", required=True)
        parser.add_argument("--at", type=moment, required=True, help="With its zone, like 2026-11-30T22:00Z.")
        parser.add_argument("--confirm-target", default="", help="In production: the target's name.")

    def act(self, **options: Any) -> Exit:
        actor = self.actor(options["person"])
        run = schedules.schedule(
            actor=actor,
            number=options["number"],
            digest=options["digest"],
            at=options["at"],
            confirm=options["confirm_target"],
        )
        self.say(f"{run} is {run.get_state_display()}. {run.sentence}")
        return Exit.ANSWERED
