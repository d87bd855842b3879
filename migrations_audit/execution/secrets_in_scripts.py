"""Passwords that a snapshot holds: what a planner says of them, so that they get out of the scripts."""

from __future__ import annotations

from migrations_audit import listing, masking
from migrations_audit.engine import snapshot
from migrations_audit.engine.findings import finding
from migrations_audit.models import Snapshot

MOST_LINES = 5
ALEMBICS_OWN = (".ini", ".toml", ".cfg")


def findings(stored: Snapshot) -> list[finding.Finding]:
    """One finding for each file in which something stands in the place of a password. Its characters are in none of them."""
    files = snapshot.files(bytes(stored.archive))
    texts = {path: content.decode("utf-8", "replace") for path, content in files.items()}
    return [
        finding.of("plain_secret", path, _sentence(path, lines)) for path, lines in masking.plain_secrets(texts).items()
    ]


def _sentence(path: str, lines: tuple[int, ...]) -> str:
    shown = listing.listed(lines, MOST_LINES)
    advice = (
        "Put a placeholder there: the worker gives Alembic the target's URL by itself."
        if path.endswith(ALEMBICS_OWN)
        else "Have the script take it from the server or from a file on the worker."
    )
    return (
        f"{path} holds what looks like a password (line{'s' if len(lines) > 1 else ''} {shown}). Pages and exports mask it, but "
        f"the snapshot keeps the file as it is, in the portal's database. {advice} Then change the password."
    )
