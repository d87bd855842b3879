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
from dataclasses import dataclass, replace
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
    """What the verifier found. ``bad_seq`` and ``reason`` name the first event that does not hold.

    ``bad_seq`` is None beside a reason when it is the manifest that does not fit the file as a whole.
    """

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


def _fault(item: Link) -> str:
    """What is wrong with an event by itself, in words; empty when it holds."""
    if item.body is not None:
        if digest(item.body) != item.body_digest:
            return "its body was changed"
        if _seq_of(item.body) != item.seq:
            return "its body belongs to another event"
    if link(item.previous_hash, item.body_digest) != item.hash:
        return "its hash does not fit its body and its predecessor"
    return ""


def _seq_of(body: str) -> object:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed.get("seq") if isinstance(parsed, dict) else None


def _gap(item: Link, expected_seq: int | None, expected_previous: str | None) -> str:
    """Why ``item`` cannot stand where it stands, in words; empty when it can."""
    if expected_seq is not None and item.seq > expected_seq:
        return f"it is missing: {item.seq} follows instead"
    if expected_seq is not None and item.seq < expected_seq:
        return f"it stands where {expected_seq} belongs"
    if expected_previous is not None and item.previous_hash != expected_previous:
        return "it does not follow the event before it"
    return ""


def verify(links: Iterable[Link], *, first_seq: int | None = 1) -> Verification:
    """Check every link in order; the first must be event ``first_seq``, or any when that is None.

    Event 1 follows the genesis hash. The first event that is missing, out of place or changed ends the check.
    """
    count = withheld = 0
    first: int | None = None
    last: int | None = None
    expected_seq = first_seq
    expected_previous: str | None = None
    head = ""
    for item in links:
        if item.seq == 1:
            expected_previous = GENESIS
        if reason := _gap(item, expected_seq, expected_previous):
            bad = item.seq if expected_seq is None else min(item.seq, expected_seq)
            return Verification(count, withheld, first, last, head, bad_seq=bad, reason=reason)
        if reason := _fault(item):
            return Verification(count, withheld, first, last, head, bad_seq=item.seq, reason=reason)
        count += 1
        withheld += item.body is None
        first = item.seq if first is None else first
        last, head = item.seq, item.hash
        expected_seq, expected_previous = item.seq + 1, item.hash
    return Verification(count, withheld, first, last, head)


class NotAnExport(ValueError):
    """The file is not an audit export in JSON Lines."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. A name that stands twice would read differently in different programs, so it is no export's."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _parse(line: str) -> dict[str, Any]:
    value = json.loads(line, object_pairs_hook=_object)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _read_line(number: int, line: str) -> Link:
    try:
        raw = _parse(line)
        texts = [raw["previous_hash"], raw["body_digest"], raw["hash"], raw.get("body", "")]
        if type(raw["seq"]) is not int or raw["seq"] < 1 or not all(type(text) is str for text in texts):
            raise TypeError("a field has another type")
        "".join(texts).encode("utf-8")
        return Link(raw["seq"], raw["previous_hash"], raw["body_digest"], raw["hash"], raw.get("body"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAnExport(f"line {number} is not an event") from error


def read_export(lines: Iterable[str]) -> tuple[dict[str, Any], Iterator[Link]]:
    """The manifest (first line) and the events of an export. Raises NotAnExport, also while the events are read."""
    iterator = iter(lines)
    try:
        manifest = _parse(next(iterator))
    except (StopIteration, ValueError, TypeError, RecursionError) as error:
        raise NotAnExport("the first line is not a manifest") from error
    if manifest.get("format") != FORMAT:
        raise NotAnExport(f"the first line does not name the format {FORMAT}")
    return manifest, (_read_line(number, line) for number, line in enumerate(iterator, 2) if line.strip())


def verify_export(lines: Iterable[str]) -> tuple[dict[str, Any], Verification]:
    """Verify an export against its own manifest: every link, the range, the count and the head. Raises NotAnExport."""
    manifest, links = read_export(lines)
    first_seq = manifest.get("first_seq")
    if first_seq is not None and type(first_seq) is not int:
        raise NotAnExport("the manifest does not say which event is the first")
    result = verify(links, first_seq=first_seq)
    if not result.holds:
        return manifest, result
    for name, found in (
        ("first_seq", result.first_seq),
        ("last_seq", result.last_seq),
        ("count", result.count),
        ("head", result.head or None),
        ("withheld", result.withheld),
    ):
        if manifest.get(name) != found:
            reason = f"the manifest says {name} {_shown(manifest.get(name))}, the file has {_shown(found)}"
            bad = None if name == "withheld" else _first_unlike(manifest, result)
            return manifest, replace(result, bad_seq=bad, reason=reason)
    return manifest, result


def _first_unlike(manifest: Mapping[str, Any], result: Verification) -> int:
    """The first event about which the manifest and the file disagree, given that the file's links hold."""
    said, found = manifest.get("last_seq"), result.last_seq
    if found is None:
        return int(manifest.get("first_seq") or 1)
    if manifest.get("first_seq") is None:
        return result.first_seq or 1
    if said == found:
        return found
    return max(said, 0) + 1 if type(said) is int and said < found else found + 1


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
        where = "the manifest" if result.bad_seq is None else f"event {result.bad_seq}"
        sys.stdout.write(f"BAD: {where}: {result.reason}. Links of {result.count} events hold.\n")
        return 1
    if result.count == 0:
        sys.stdout.write("The export holds no event: none matched its filter. There is nothing to verify.\n")
    else:
        sys.stdout.write(
            f"Every link holds: {result.count} events, {result.first_seq} to {result.last_seq}, "
            f"{result.withheld} bodies withheld.\nHead {result.head}\n"
            "What happened after the last event of this file is not covered by it.\n"
        )
    sys.stdout.write(f"Exported at {_shown(manifest.get('exported_at'))} by {_shown(manifest.get('exported_by'))}.\n")
    return 0


def _shown(value: object) -> str:
    """A value of the manifest for a terminal: printable ASCII only, and short."""
    return ascii(value)[:200]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
