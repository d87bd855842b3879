"""Show one run with the end of its log."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from migrations_audit import access
from migrations_audit.management.portal_command import Exit, PersonalCommand
from migrations_audit.models import MigrationRun


class Command(PersonalCommand):
    help = "Show one run: its state, its plan, its decisions, and the end of its log."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int)
        parser.add_argument("--lines", type=int, default=200, help="How many lines of the log, from its end (200).")

    def act(self, **options: Any) -> Exit:
        run = access.get_run_for(self.actor(options["person"]), options["number"])
        self.say(f"{run}: {run.get_operation_display()} to {run.requested}, asked by {run.requester_name}")
        self.say(f"State: {run.get_state_display()}. Verdict: {run.get_verdict_display()}.")
        if run.sentence:
            self.say(run.sentence)
        if run.broke_glass_at is not None:
            self.say(
                f"WITHOUT APPROVAL: started by {run.broke_glass_by_name} at {run.broke_glass_at:%Y-%m-%d %H:%M:%S} UTC."
            )
        if run.plan is not None:
            self.say(f"Plan: {run.plan.span}")
            self.say(f"Digest: {run.plan.digest}")
        for approval in run.approvals.all():
            taken_back = " (withdrawn)" if approval.withdrawn_at else ""
            self.say(f"{approval.get_decision_display()} by {approval.person_name}{taken_back}: {approval.comment}")
        self._say_log(run, options["lines"])
        return Exit.ANSWERED

    def _say_log(self, run: MigrationRun, lines: int) -> None:
        last = list(run.log.order_by("-seq")[: max(lines, 0)])
        for line in reversed(last):
            self.say(f"{line.at:%H:%M:%S} {line.get_stream_display()}: {line.text}")
