"""Two texts side by side, for people: a unified difference without passwords, bounded in lines, characters and time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Final

from migrations_audit import masking
from migrations_audit.engine.redaction import clean
from migrations_audit.models.evidence import TITLE
from migrations_audit.queries import sources

MOST_LINES: Final = 400
MOST_CHARACTERS: Final = 60_000
LONGEST_LINE: Final = 400
LONGEST_TEXT: Final = 200_000
"""Bytes. What is longer is named, and not compared line by line."""
MOST_COMPARED: Final = 1_000
"""Lines between what both texts begin and end with. Beyond it, looking for the smallest difference takes too long."""
CONTEXT: Final = 3

_Group = Sequence[tuple[str, int, int, int, int]]


def of_files(then: Mapping[str, bytes], now: Mapping[str, bytes], *, first: Collection[str] = ()) -> tuple[str, ...]:
    """Which files were changed, added and removed, each with a title and its difference; those named ``first`` come first."""
    paths = [path for path in then.keys() | now.keys() if then.get(path) != now.get(path)]
    paths.sort(key=lambda path: (path not in first, path))
    return bounded(line for path in paths for line in _of_file(path, then.get(path), now.get(path)))


def of_texts(then: str, now: str, *, is_python: bool = False) -> Iterator[str]:
    """The lines by which two texts differ, with their signs and some lines around them."""
    old, new = (masking.mask(text, is_python=is_python).text for text in (then, now))
    if old == new:
        yield " only what is masked here as a password differs"
        return
    yield from _unified(old.split("\n"), new.split("\n"))


def bounded(lines: Iterable[str]) -> tuple[str, ...]:
    """As many of ``lines`` as are kept, fit to store; and a last one that says so when some are left out."""
    kept: list[str] = []
    length = 0
    for line in lines:
        text = clean(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…")
        length += len(text)
        if len(kept) == MOST_LINES or length > MOST_CHARACTERS:
            return (*kept, f"{TITLE}more differs than is kept here")
        kept.append(text)
    return tuple(kept)


def _of_file(path: str, then: bytes | None, now: bytes | None) -> Iterator[str]:
    what = "added" if then is None else "removed" if now is None else "changed"
    yield f"{TITLE}{what}: {path}"
    contents = [content or b"" for content in (then, now)]
    if any(len(content) > LONGEST_TEXT for content in contents):
        yield f" longer than {LONGEST_TEXT:,} bytes, so not compared line by line"
    elif any(b"\0" in content for content in contents):
        yield " not a text"
    else:
        old, new = map(sources.decoded, contents)
        yield from of_texts(old, new, is_python=path.endswith(".py"))


def _unified(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    alike = _alike(old, new)
    alike_at_end = _alike(old[alike:][::-1], new[alike:][::-1])
    before, after = min(alike, CONTEXT), min(alike_at_end, CONTEXT)
    shift, cut = alike - before, alike_at_end - after
    old, new = old[shift : len(old) - cut], new[shift : len(new) - cut]
    for group in _groups(old, new, before=before, after=after):
        (_, i, _, j, _), (_, _, i_end, _, j_end) = group[0], group[-1]
        yield f"@@ -{shift + i + 1},{i_end - i} +{shift + j + 1},{j_end - j} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[i1:i2])
                continue
            yield from (f"-{line}" for line in old[i1:i2])
            yield from (f"+{line}" for line in new[j1:j2])


def _groups(old: Sequence[str], new: Sequence[str], *, before: int, after: int) -> Iterable[_Group]:
    if max(len(old), len(new)) <= MOST_COMPARED:
        return SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT)
    i, j = len(old) - after, len(new) - after
    return [
        [
            ("equal", 0, before, 0, before),
            ("replace", before, i, before, j),
            ("equal", i, len(old), j, len(new)),
        ]
    ]


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines both begin with."""
    return next((place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
