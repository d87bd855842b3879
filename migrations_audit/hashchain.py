"""The audit chain: canonical bytes, links, and the verifier that a stranger can run.

This file needs only Python. Copy it beside an export and run ``python3 hashchain.py export.jsonl``; it reads the manifest that is
the export's first line and prints the range, the count and the first bad event. Exit code 0 means that every link holds,
1 that one does not, 2 that the file could not be read as an export.

An event's hash is SHA-256 over the previous event's hash, a line feed, and the SHA-256 of its own body. Because the body enters
through its digest, an export may withhold bodies (another team's events) and the chain can still be checked.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
FORMAT = "opsportal-audit/1"


def canonical(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces. The text is stored; hashes are taken over it and never over a rendering of it.

    Raises TypeError for what JSON does not know and ValueError for NaN.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """SHA-256 of the text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def link(previous_hash: str, body_digest: str) -> str:
    """The hash of an event that follows ``previous_hash`` and whose body has ``body_digest``."""
    return digest(f"{previous_hash}\n{body_digest}")


@dataclass(frozen=True)
class Link:
    """One event as the verifier sees it. ``body`` is None where the export withholds it."""

    seq: int
    previous_hash: str
    body_digest: str
    hash: str
    body: str | None


@dataclass(frozen=True)
class Verification:
    """What the verifier found. ``bad_seq`` and ``reason`` name the first event that does not hold."""

    count: int
    withheld: int
    first_seq: int | None
    last_seq: int | None
    head: str
    bad_seq: int | None = None
    reason: str = ""

    @property
    def holds(self) -> bool:
        return self.bad_seq is None and not self.reason


def _fault(item: Link, expected_seq: int | None, expected_previous: str | None) -> str:
    if expected_seq is not None and item.seq != expected_seq:
        return f"event {expected_seq} is missing: {item.seq} follows instead"
    if expected_previous is not None and item.previous_hash != expected_previous:
        return "it does not follow the event before it"
    if item.body is not None and digest(item.body) != item.body_digest:
        return "its body was changed"
    if link(item.previous_hash, item.body_digest) != item.hash:
        return "its hash does not fit its body and its predecessor"
    return ""


def verify(links: Iterable[Link], *, from_genesis: bool = True) -> Verification:
    """Check every link in order. With ``from_genesis`` the first must be event 1 of the chain."""
    count = withheld = 0
    first: int | None = None
    last: int | None = None
    expected_seq: int | None = 1 if from_genesis else None
    expected_previous: str | None = GENESIS if from_genesis else None
    head = ""
    for item in links:
        reason = _fault(item, expected_seq, expected_previous)
        if reason:
            return Verification(count, withheld, first, last, head, bad_seq=item.seq, reason=reason)
        count += 1
        withheld += item.body is None
        first = item.seq if first is None else first
        last, head = item.seq, item.hash
        expected_seq, expected_previous = item.seq + 1, item.hash
    return Verification(count, withheld, first, last, head)


class NotAnExport(ValueError):
    """The file is not an audit export in JSON Lines."""


def _read_line(number: int, line: str) -> Link:
    try:
        raw = json.loads(line)
        return Link(int(raw["seq"]), raw["previous_hash"], raw["body_digest"], raw["hash"], raw.get("body"))
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnExport(f"line {number} is not an event") from error


def read_export(lines: Iterable[str]) -> tuple[dict[str, Any], Iterator[Link]]:
    """The manifest (first line) and the events of an export. Raises NotAnExport."""
    iterator = iter(lines)
    try:
        manifest = json.loads(next(iterator))
    except (StopIteration, ValueError) as error:
        raise NotAnExport("the first line is not a manifest") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotAnExport(f"the first line does not name the format {FORMAT}")
    return manifest, (_read_line(number, line) for number, line in enumerate(iterator, 2) if line.strip())


def verify_export(lines: Iterable[str]) -> tuple[dict[str, Any], Verification]:
    """Verify an export against its own manifest: every link, the count, the range and the head."""
    manifest, links = read_export(lines)
    result = verify(links, from_genesis=manifest.get("first_seq") == 1)
    if not result.holds:
        return manifest, result
    for name, found in (
        ("count", result.count),
        ("first_seq", result.first_seq),
        ("last_seq", result.last_seq),
        ("head", result.head or None),
    ):
        if manifest.get(name) != found:
            reason = f"the manifest says {name} {manifest.get(name)}, the file has {found}"
            seq = (result.last_seq or 0) + 1
            return manifest, Verification(
                result.count, result.withheld, result.first_seq, result.last_seq, result.head, seq, reason
            )
    return manifest, result


def main(arguments: list[str]) -> int:
    """Verify the export file named on the command line and print what was found. Returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 hashchain.py EXPORT.jsonl\n")
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            manifest, result = verify_export(file)
    except (OSError, UnicodeDecodeError, NotAnExport) as error:
        sys.stderr.write(f"Cannot verify {arguments[0]}: {error}\n")
        return 2
    if not result.holds:
        sys.stdout.write(f"BAD: event {result.bad_seq}: {result.reason}. {result.count} events before it hold.\n")
        return 1
    sys.stdout.write(
        f"Every link holds: {result.count} events, {result.first_seq} to {result.last_seq}, {result.withheld} bodies withheld.\n"
        f"Head {result.head}\nExported at {manifest.get('exported_at')} by {manifest.get('exported_by')}.\n"
        "What happened after the last event of this file is not covered by it.\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
