"""Run now."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import runs
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Queue an approved run. The digest is that of the plan that you saw; show_run prints it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)
        parser.add_argument("--digest", required=True)
        parser.add_argument(
            "--confirm-target", default="", help="In production: the target's name, like market/production/main."
        )

    def act(self, **options: Any) -> Exit:
        run = runs.start(
            actor=self.actor(options["person"]),
            number=options["number"],
            digest=options["digest"],
            confirm=options["confirm_target"],
        )
        self.say(f"{run} is {run.get_state_display()}. {run.sentence}")
        return Exit.ANSWERED
