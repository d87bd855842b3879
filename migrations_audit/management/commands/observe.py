"""Have a worker read a target now, and wait for what it read."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.core.management.base import CommandParser

from migrations_audit.actions import evidence
from migrations_audit.management.portal_command import Exit, PersonalCommand
from migrations_audit.models import Observation
from migrations_audit.queries import gate
from migrations_audit.states import TargetStatus

POLL_S = 0.5
NOT_READ = (TargetStatus.UNREACHABLE, TargetStatus.UNREADABLE, TargetStatus.UNREADABLE_SCRIPTS)


class Command(PersonalCommand):
    help = "Check now: have a worker read a target, and wait for what it read."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--target", required=True, help="project/environment/slug")
        parser.add_argument("--within", type=float, default=60.0, metavar="SECONDS", help="How long to wait (60).")

    def act(self, **options: Any) -> Exit:
        target_id = gate.target_id(options["target"])
        rows = Observation.objects.filter(target_id=target_id).order_by("-pk")
        last = rows.values_list("pk", flat=True).first() or 0
        target = evidence.request_observation(actor=self.actor(options["person"]), target_id=target_id)
        deadline = time.monotonic() + options["within"]
        pause = threading.Event()
        while (read := rows.filter(pk__gt=last).first()) is None:
            if time.monotonic() >= deadline:
                self.say(
                    f"{target} was not read within {options['within']:g} s. Is a worker of {target.environment.queue} running?"
                )
                return Exit.COULD_NOT_READ
            pause.wait(POLL_S)
        self.say(f"{target} at {read.at:%Y-%m-%d %H:%M:%S} UTC, read by {read.reader}: {read.sentence}")
        if read.status == TargetStatus.WRONG_DATABASE:
            return Exit.WRONG_DATABASE
        return Exit.COULD_NOT_READ if read.status in NOT_READ else Exit.ANSWERED
