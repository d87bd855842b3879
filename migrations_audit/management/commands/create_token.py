"""Make an API token."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import tokens
from migrations_audit.management.portal_command import Exit, PersonalCommand


class Command(PersonalCommand):
    help = "Make an API token. Its secret is printed once, alone on standard output, and stored nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--name", required=True, help="What uses it.")
        parser.add_argument(
            "--scope", action="append", required=True, choices=tokens.SCOPES, help="May be given several times."
        )
        parser.add_argument("--days", type=int, default=90, help=f"Its lifetime, at most {tokens.LONGEST_DAYS} (90).")

    def act(self, **options: Any) -> Exit:
        made = tokens.create(
            actor=self.actor(options["person"]), name=options["name"], scopes=options["scope"], days=options["days"]
        )
        self.say(made.secret)
        self.remark(f"Token {made.token} acts until {made.token.expires_at:%Y-%m-%d %H:%M} UTC. It is not shown again.")
        return Exit.ANSWERED
