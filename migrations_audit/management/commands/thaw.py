"""Thaw the portal."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import freezes
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Let runs start again."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", required=True)

    def act(self, **options: Any) -> Exit:
        ended = freezes.thaw(actor=self.actor(options["person"]), reason=options["reason"])
        self.say(f"The portal is thawed. It was frozen by {ended.by_name} since {ended.at:%Y-%m-%d %H:%M} UTC.")
        return Exit.ANSWERED
