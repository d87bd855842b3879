"""The audit chain and the verifier that a stranger runs, on his own machine, with nothing of ours but one file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migrations_audit import hashchain

Lines = list[str]


def make_chain(length: int, *, text: str = "ordinary") -> list[hashchain.Link]:
    links, previous = [], hashchain.GENESIS
    for seq in range(1, length + 1):
        body = hashchain.canonical({"seq": seq, "action": "run.requested", "facts": {"reason": f"{text} {seq}"}})
        digest = hashchain.digest(body)
        own = hashchain.link(previous, digest)
        links.append(hashchain.Link(seq, previous, digest, own, body))
        previous = own
    return links


def make_export(first: int = 1, last: int = 8, *, withheld: tuple[int, ...] = (5,), text: str = "ordinary") -> Lines:
    """An export of events first to last of a chain, as lines."""
    links = [link for link in make_chain(last, text=text) if link.seq >= first]
    hidden = [link.seq for link in links if link.seq in withheld]
    manifest = {
        "format": hashchain.FORMAT,
        "exported_at": "2026-01-31T12:00:00+00:00",
        "exported_by": "ada",
        "first_seq": first if links else None,
        "last_seq": last if links else None,
        "count": len(links),
        "head": links[-1].hash if links else None,
        "withheld": len(hidden),
    }
    return [json.dumps(manifest), *(as_line(link, with_body=link.seq not in withheld) for link in links)]


def as_line(link: hashchain.Link, *, with_body: bool = True) -> str:
    event: dict[str, Any] = {
        "seq": link.seq,
        "previous_hash": link.previous_hash,
        "body_digest": link.body_digest,
        "hash": link.hash,
    }
    return json.dumps(event | {"body": link.body} if with_body else event)


def change(lines: Lines, number: int, **values: Any) -> Lines:
    """The lines with fields of line ``number`` replaced; the manifest is line 0, event n of a whole chain is line n."""
    raw = json.loads(lines[number]) | values
    return [*lines[:number], json.dumps(raw), *lines[number + 1 :]]


def without(lines: Lines, number: int) -> Lines:
    return [*lines[:number], *lines[number + 1 :]]


def edit_body(lines: Lines) -> Lines:
    return change(lines, 3, body=json.loads(lines[3])["body"].replace("ordinary", "harmless"))


def edit_body_and_digest(lines: Lines) -> Lines:
    body = json.loads(lines[3])["body"].replace("ordinary", "harmless")
    return change(lines, 3, body=body, body_digest=hashchain.digest(body))


def rehash_one_event(lines: Lines) -> Lines:
    event = json.loads(lines[3])
    digest = hashchain.digest(event["body"].replace("ordinary", "harmless"))
    body = event["body"].replace("ordinary", "harmless")
    return change(lines, 3, body=body, body_digest=digest, hash=hashchain.link(event["previous_hash"], digest))


def swap_two_lines(lines: Lines) -> Lines:
    return [*lines[:3], lines[4], lines[3], *lines[5:]]


def swap_two_events_with_their_numbers(lines: Lines) -> Lines:
    third, fourth = json.loads(lines[3]), json.loads(lines[4])
    third["seq"], fourth["seq"] = 4, 3
    return [*lines[:3], json.dumps(fourth), json.dumps(third), *lines[5:]]


def insert_a_backdated_event(lines: Lines) -> Lines:
    return [*lines[:4], lines[3], *lines[4:]]


def renumber_everything(lines: Lines) -> Lines:
    events = [json.loads(line) for line in lines[1:]]
    moved = [json.dumps(event | {"seq": event["seq"] + 100}) for event in events]
    return change([lines[0], *moved], 0, first_seq=101, last_seq=108)


def swap_in_another_body_for_a_withheld_one(lines: Lines) -> Lines:
    return change(lines, 5, body=json.loads(lines[4])["body"])


def change_the_digest_of_a_withheld_body(lines: Lines) -> Lines:
    return change(lines, 5, body_digest=hashchain.digest("something else"))


def start_after_the_first_and_say_so(lines: Lines) -> Lines:
    return change(without(lines, 1), 0, first_seq=1)


TAMPERED: dict[str, tuple[Callable[[Lines], Lines], int | None]] = {
    "a body is edited": (edit_body, 3),
    "a body is edited and its digest with it": (edit_body_and_digest, 3),
    "one event is hashed anew": (rehash_one_event, 4),
    "an event is deleted": (lambda lines: without(lines, 4), 4),
    "the first event is deleted": (start_after_the_first_and_say_so, 1),
    "two lines are swapped": (swap_two_lines, 3),
    "two events are swapped and renumbered": (swap_two_events_with_their_numbers, 3),
    "an event is inserted": (insert_a_backdated_event, 3),
    "all events are renumbered": (renumber_everything, 101),
    "the last event is cut off": (lambda lines: lines[:-1], 8),
    "all events are cut off": (lambda lines: lines[:1], 1),
    "a withheld body is replaced by another event's": (swap_in_another_body_for_a_withheld_one, 5),
    "the digest of a withheld body is changed": (change_the_digest_of_a_withheld_body, 5),
    "the manifest claims fewer events": (lambda lines: change(lines, 0, last_seq=6, count=6), 7),
    "the manifest claims more events": (lambda lines: change(lines, 0, last_seq=9, count=9), 9),
    "the manifest names another head": (lambda lines: change(lines, 0, head="0" * 64), 8),
    "the manifest claims another count": (lambda lines: change(lines, 0, count=7), 8),
    "a readable body is withheld afterwards": (
        lambda lines: [*lines[:2], as_line(make_chain(2)[1], with_body=False), *lines[3:]],
        None,
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_the_verifier_names_the_first_event_that_does_not_hold_when(name: str) -> None:
    tamper, bad_seq = TAMPERED[name]

    _, result = hashchain.verify_export(tamper(make_export()))

    assert not result.holds
    assert result.bad_seq == bad_seq
    assert result.reason


def test_an_export_that_nobody_touched_verifies() -> None:
    manifest, result = hashchain.verify_export(make_export())

    assert result.holds
    assert (result.count, result.first_seq, result.last_seq, result.withheld) == (8, 1, 8, 1)
    assert result.head == manifest["head"]


def test_an_export_from_the_middle_of_the_chain_verifies() -> None:
    _, result = hashchain.verify_export(make_export(first=4))

    assert result.holds
    assert (result.first_seq, result.count) == (4, 5)


@pytest.mark.parametrize("missing", [4, 6, 8])
def test_an_event_missing_from_an_export_of_the_middle_is_named(missing: int) -> None:
    lines = make_export(first=4)

    _, result = hashchain.verify_export(without(lines, missing - 3))

    assert result.bad_seq == missing


def test_an_export_of_no_events_verifies_against_a_manifest_that_says_so() -> None:
    lines = make_export(last=0)

    _, result = hashchain.verify_export(lines)

    assert result.holds
    assert result.count == 0


def test_an_event_smuggled_into_an_empty_export_is_named() -> None:
    _, result = hashchain.verify_export([*make_export(last=0), as_line(make_chain(1)[0])])

    assert result.bad_seq == 1


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"seq": 9}',
        '{"seq": "9", "previous_hash": "a", "body_digest": "b", "hash": "c"}',
        '{"seq": true, "previous_hash": "a", "body_digest": "b", "hash": "c"}',
        '{"seq": 9, "previous_hash": 1, "body_digest": "b", "hash": "c"}',
        '{"seq": 9, "previous_hash": "a", "body_digest": "b", "hash": "c", "body": null}',
        '{"seq": 9, "previous_hash": "a", "body_digest": "b", "hash": "c", "body": "\\ud800"}',
        '{"seq": 9, "previous_hash": "a", "body_digest": "b", "hash": "c", "body": "x", "body": "y"}',
        "[" * 100_000,
    ],
)
def test_a_line_that_is_not_an_event_is_named_and_crashes_nothing(line: str) -> None:
    with pytest.raises(hashchain.NotAnExport, match="line 10 is not an event"):
        hashchain.verify_export([*make_export(), line])


@pytest.mark.parametrize("first", ["", "{}", "[]", '{"format": "other/1"}', '{"format": 1, "format": 1}', "null"])
def test_a_file_without_our_manifest_is_not_an_export(first: str) -> None:
    with pytest.raises(hashchain.NotAnExport, match="first line"):
        hashchain.verify_export([first])


def test_a_chain_must_begin_with_its_first_event() -> None:
    result = hashchain.verify(make_chain(4)[1:])

    assert result.bad_seq == 1


def test_a_first_event_that_does_not_follow_genesis_is_named() -> None:
    body = hashchain.canonical({"seq": 1})
    digest = hashchain.digest(body)
    previous = hashchain.digest("another chain")

    result = hashchain.verify([hashchain.Link(1, previous, digest, hashchain.link(previous, digest), body)])

    assert result.bad_seq == 1


def test_canonical_text_is_one_text_and_refuses_what_json_does_not_know() -> None:
    assert hashchain.canonical({"b": "é", "a": [1, None]}) == '{"a":[1,null],"b":"é"}'
    with pytest.raises(ValueError, match="JSON"):
        hashchain.canonical({"a": float("nan")})


# The stranger's machine: the one file, isolated from our packages, in another folder.


@pytest.fixture
def verify_alone(tmp_path: Path) -> Callable[[Lines], subprocess.CompletedProcess[str]]:
    def run(lines: Lines) -> subprocess.CompletedProcess[str]:
        shutil.copy(hashchain.__file__, tmp_path / "hashchain.py")
        (tmp_path / "export.jsonl").write_text("\n".join(lines) + "\n", encoding="ascii")
        return subprocess.run(
            [sys.executable, "-I", "-W", "error", "hashchain.py", "export.jsonl"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


Verify = Callable[[Lines], subprocess.CompletedProcess[str]]


def test_the_verifier_runs_alone_and_says_what_it_covers(verify_alone: Verify) -> None:
    lines = make_export(text="Größe 🦆 \u202egnp.exe")

    ended = verify_alone(lines)

    assert ended.returncode == 0
    assert "Every link holds: 8 events, 1 to 8, 1 bodies withheld." in ended.stdout
    assert json.loads(lines[0])["head"] in ended.stdout
    assert ended.stderr == ""


def test_the_verifier_alone_names_the_bad_event_and_ends_with_1(verify_alone: Verify) -> None:
    ended = verify_alone(edit_body(make_export()))

    assert ended.returncode == 1
    assert ended.stdout.startswith("BAD: event 3: its body was changed.")


def test_the_verifier_alone_ends_with_2_for_a_file_cut_in_the_middle_of_a_line(verify_alone: Verify) -> None:
    lines = make_export()

    ended = verify_alone([*lines[:-1], lines[-1][:40]])

    assert ended.returncode == 2
    assert "line 9 is not an event" in ended.stderr


def test_the_verifier_alone_says_that_an_export_is_empty(verify_alone: Verify) -> None:
    ended = verify_alone(make_export(last=0))

    assert ended.returncode == 0
    assert "holds no event" in ended.stdout


def test_the_verifier_prints_nothing_of_the_manifest_that_could_steer_a_terminal(verify_alone: Verify) -> None:
    ended = verify_alone(change(make_export(), 0, exported_by="ada\x1b[2K\u202e"))

    assert ended.returncode == 0
    assert "\x1b" not in ended.stdout
    assert "\u202e" not in ended.stdout


def test_the_verifier_alone_ends_with_2_without_a_file(tmp_path: Path) -> None:
    for arguments in ([], ["nowhere.jsonl"]):
        ended = subprocess.run(
            [sys.executable, "-I", hashchain.__file__, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 2
        assert ended.stderr
