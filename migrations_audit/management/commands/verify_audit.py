"""Check the stored audit chain."""

from __future__ import annotations

from typing import Any

from migrations_audit import exports
from migrations_audit.management.portal_command import Exit, PortalCommand
from migrations_audit.models.clock import database_now


class Command(PortalCommand):
    help = "Check every link of the stored audit chain. Ends with 0 when all hold, 1 when one does not, 2 when it could not run."
    unavailable = Exit.USAGE

    def act(self, **options: Any) -> Exit:
        result = exports.verify_chain(now=database_now())
        if not result.holds:
            self.say(f"BAD: event {result.bad_seq}: {result.reason}. The events before it hold.")
            return Exit.REFUSED
        self.say(f"Every link holds: {result.count} events. Head {result.head or 'none'}")
        return Exit.ANSWERED
