"""Cancel a queued or running run."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import runs
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Cancel a queued run at once, or ask a running one to stop. It then ends with what the target says."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)

    def act(self, **options: Any) -> Exit:
        run = runs.cancel(actor=self.actor(options["person"]), number=options["number"])
        asked = " The cancel is asked for." if run.cancel_requested_at else ""
        self.say(f"{run} is {run.get_state_display()}.{asked} {run.sentence}")
        return Exit.ANSWERED
