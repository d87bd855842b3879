"""Ask for an upgrade, a rollback or an adoption of one target."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import runs
from migrations_audit.management.portal_command import Exit, PersonalCommand
from migrations_audit.queries import gate
from migrations_audit.states import Operation


class Command(PersonalCommand):
    help = "Ask for an upgrade, a rollback or an adoption of one target. Prints the run's number."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--target", required=True, help="project/environment/slug")
        parser.add_argument(
            "--revision", default="head", help="head, a revision id, +1; with --rollback an id, -1 or base."
        )
        parser.add_argument("--reason", required=True)
        parser.add_argument("--ticket", default="")
        way = parser.add_mutually_exclusive_group()
        way.add_argument("--rollback", action="store_true", help="Go back instead of forward.")
        way.add_argument(
            "--adopt",
            action="store_true",
            help="Note the revision of a database that Alembic did not make; execute nothing.",
        )
        parser.add_argument("--rolls-back", type=int, metavar="RUN", help="The run that a rollback takes back.")

    def act(self, **options: Any) -> Exit:
        run = runs.request(
            actor=self.actor(options["person"]),
            target_id=gate.target_id(options["target"]),
            revision=options["revision"],
            reason=options["reason"],
            ticket=options["ticket"],
            operation=_operation(options),
            rolls_back=options["rolls_back"],
        )
        self.say(str(run.number))
        self.remark(f"{run} is {run.get_state_display()}. {run.sentence}")
        return Exit.ANSWERED


def _operation(options: dict[str, Any]) -> Operation:
    if options["adopt"]:
        return Operation.ADOPT
    return Operation.ROLLBACK if options["rollback"] else Operation.UPGRADE
