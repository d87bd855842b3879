"""The script files of a plan, as people read them before they approve. Only what has the approved digest is shown.

What stands in the place of a password is masked, and nothing around it, and the lines are told: an approver must know that there
is something that the page does not show.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tokenize
from dataclasses import dataclass
from typing import Any

from migrations_audit import masking
from migrations_audit.models import Plan, Snapshot

LONGEST_SOURCE = 1_000_000


@dataclass(frozen=True)
class Source:
    """One step with the text of its file. ``problem`` says why there is none; ``masked`` are the lines with a hidden password."""

    step: dict[str, Any]
    text: str
    problem: str = ""
    masked: tuple[int, ...] = ()


def plan_sources(plan: Plan) -> list[Source]:
    """The file of every step, from the plan's frozen snapshot and nowhere else."""
    archive = bytes(Snapshot.objects.values_list("archive", flat=True).get(pk=plan.snapshot_id))
    contents = _read(archive, wanted={step["path"] for step in plan.steps})
    return [_source(step, contents) for step in plan.steps]


def _read(archive: bytes, *, wanted: set[str]) -> dict[str, bytes] | None:
    """The wanted regular files by path; None for what is no archive."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                handle = tar.extractfile(member) if member.isreg() and member.name in wanted else None
                if handle is not None:
                    found[member.name] = handle.read(LONGEST_SOURCE + 1)
    except (tarfile.TarError, ValueError, EOFError):
        return None
    return found


def _source(step: dict[str, Any], contents: dict[str, bytes] | None) -> Source:
    path = step["path"]
    if contents is None:
        return Source(
            step, "", f"The snapshot's archive cannot be read, so {path} is not shown. Do not approve this plan."
        )
    content = contents.get(path)
    if content is None:
        return Source(step, "", f"The snapshot holds no file {path}. Do not approve this plan.")
    if len(content) > LONGEST_SOURCE:
        return Source(step, "", f"{path} is longer than {LONGEST_SOURCE:,} bytes and is not shown here.")
    if hashlib.sha256(content).hexdigest() != step["sha256"]:
        return Source(
            step, "", f"The file {path} is not the one of the plan: its SHA-256 differs. Do not approve this plan."
        )
    shown = masking.mask(decoded(content), is_python=path.endswith(".py"))
    return Source(step, shown.text, masked=shown.lines)


def decoded(content: bytes) -> str:
    """The text of a file in the encoding that it declares, as Python would run it."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding)
    except (SyntaxError, LookupError, UnicodeDecodeError):
        return content.decode("utf-8", "replace")
