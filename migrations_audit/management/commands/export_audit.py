"""Write an audit export to a file."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from migrations_audit import exports
from migrations_audit.management.portal_command import Exit, PersonalCommand, printable


class Command(PersonalCommand):
    help = "Write the audit events that match to a new file. Check it with: python3 hashchain.py FILE"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--form", choices=sorted(exports.FORMS), default="jsonl")
        parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="A file that is not there yet.")
        for name in ("actor", "action", "environment", "target"):
            parser.add_argument(f"--{name}", default="")
        parser.add_argument("--run", type=int)
        parser.add_argument("--since", type=_moment, metavar="TIME", help="Included; UTC unless it names a zone.")
        parser.add_argument("--until", type=_moment, metavar="TIME", help="Not included.")

    def act(self, **options: Any) -> Exit:
        actor = self.actor(options["person"])
        names = ("actor", "action", "environment", "target", "run", "since", "until")
        filters = exports.Filters(**{name: options[name] for name in names})
        output: Path = options["output"]
        try:
            with _new_file(output) as file:
                made = exports.export(actor=actor, filters=filters, form=options["form"])
                file.writelines(made.lines)
        except OSError as error:
            raise CommandError(f"{printable(str(output))}: {error.strerror}.", returncode=Exit.USAGE) from error
        facts = made.manifest
        self.say(
            f"{output}: {facts['count']} events, {facts['first_seq']} to {facts['last_seq']}, {facts['withheld']} withheld."
        )
        return Exit.ANSWERED


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that only we may read and that was not there before. It is removed again unless all of it is written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("a time is written like 2026-01-31 or 2026-01-31T12:00:00+01:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
