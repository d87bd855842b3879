"""Gate a deploy on what was really read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.management.portal_command import Exit, PersonalCommand
from migrations_audit.models.clock import database_now
from migrations_audit.queries import gate
from migrations_audit.queries.gate import Answer

CODES: Mapping[Answer, Exit] = {
    Answer.IN_SYNC: Exit.ANSWERED,
    Answer.BEHIND: Exit.BEHIND,
    Answer.AHEAD: Exit.OTHER_REVISION,
    Answer.UNKNOWN_REVISION: Exit.OTHER_REVISION,
    Answer.SEVERAL_HEADS: Exit.OTHER_REVISION,
    Answer.NOT_INITIALISED: Exit.OTHER_REVISION,
    Answer.COULD_NOT_READ: Exit.COULD_NOT_READ,
    Answer.WRONG_DATABASE: Exit.WRONG_DATABASE,
    Answer.REGRESSED: Exit.OTHER_REVISION,
    Answer.TABLES_MISSING: Exit.OTHER_REVISION,
}


class Command(PersonalCommand):
    help = "Say whether a target really has a revision. Ends with 0 only for a fresh reading that says so."
    refused = Exit.USAGE
    unavailable = Exit.COULD_NOT_READ

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--target", required=True, help="project/environment/slug")
        parser.add_argument("--expect", default=gate.HEAD, help="head (of the scripts), or a full revision id.")

    def act(self, **options: Any) -> Exit:
        found = gate.check(
            actor=self.actor(options["person"]),
            target=options["target"],
            expect=options["expect"],
            now=database_now(),
        )
        words = found.answer.value.replace("_", " ")
        reason = f" ({found.reason.replace('_', ' ')})" if found.reason else ""
        self.say(f"{words}{reason}: {found.sentence}")
        return CODES[found.answer]
