"""Freeze the portal."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import freezes
from migrations_audit.management.moments import moment
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Let no run start anywhere, until thaw or until the time that is given. What runs already runs on."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", required=True)
        parser.add_argument("--until", type=moment, help="With its zone, like 2026-11-30T22:00Z.")

    def act(self, **options: Any) -> Exit:
        made = freezes.freeze(actor=self.actor(options["person"]), reason=options["reason"], until=options["until"])
        self.say(made.sentence)
        return Exit.ANSWERED
