"""Seal a database URL, so that the portal's database may hold it."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from migrations_audit import sealing
from migrations_audit.management.portal_command import Exit, PortalCommand
from migrations_audit.models import Target

LONGEST = Target._meta.get_field("url_reference").max_length or 0


class Command(PortalCommand):
    help = "Read a database URL from standard input and print the reference to enter for a target. Never pass it as an argument."

    def act(self, **options: Any) -> Exit:
        url = getpass.getpass("Database URL (not shown): ") if sys.stdin.isatty() else sys.stdin.read()
        reference = f"sealed:{sealing.seal(_one_url(url), keys=settings.PORTAL_SEALING_KEYS)}"
        if len(reference) > LONGEST:
            raise CommandError("The URL is too long to be sealed.", returncode=Exit.USAGE)
        self.say(reference)
        return Exit.ANSWERED


def _one_url(text: str) -> str:
    """The URL, checked only for being one; what was entered is never repeated."""
    url = text.strip()
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.isascii() or not rest or not url.isprintable() or " " in url:
        raise CommandError(
            "Standard input does not hold one database URL, like postgresql://user:password@host:5432/name.",
            returncode=Exit.USAGE,
        )
    return url
