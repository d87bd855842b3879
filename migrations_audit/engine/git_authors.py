"""Who wrote the files of one folder of a commit, as far back as the history was fetched, and what came after which commit."""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from migrations_audit.engine import bounded, git, redaction

OUTPUT_BYTES: Final = 8 * 1024**2


@dataclass(frozen=True)
class Author:
    """Who wrote a file in one commit."""

    id: str
    author: str
    email: str
    path: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class History:
    """By path everybody who changed that file in a commit that was fetched, and by such a commit those before it."""

    authors: Mapping[str, Sequence[Author]] = field(default_factory=dict)
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def since(self, path: str, commit: str) -> Sequence[Author]:
        """Who changed the file after ``commit``. Nobody where that one was not fetched."""
        if commit not in self.parents:
            return ()
        before, todo = set[str](), [commit]
        while todo:
            each = todo.pop()
            if each not in before:
                before.add(each)
                todo += self.parents.get(each, ())
        return [author for author in self.authors.get(path, ()) if author.id not in before]


def of_files(fetched: git.Fetched, *, folder: str) -> History:
    """Who wrote the files below ``folder`` (``.`` for the root), by their paths within it.

    The oldest commit of a shallow history looks as if it had made every file, so nobody is named from it: a file that no
    later commit touched has no entry. So has every file of a folder whose history is too long to read.
    """
    mark = secrets.token_hex(16)  # no path of a hostile commit can pass for a heading
    shown = f"--format={mark}%x00%H%x00%an%x00%ae"
    words = [
        "log",
        "-z",
        "-c",
        "--name-only",
        "--no-renames",
        "--no-mailmap",
        "--no-show-signature",
        "--encoding=UTF-8",
    ]
    try:
        ended = git.local(
            fetched.repository, *words, shown, fetched.commit.id, "--", folder, max_output_bytes=OUTPUT_BYTES
        )
        line_of_descent = git.local(
            fetched.repository, "rev-list", "--parents", fetched.commit.id, max_output_bytes=OUTPUT_BYTES
        )
    except (bounded.WroteTooMuch, bounded.TookTooLong):
        return History()
    cut = _cut_off(fetched)
    found: dict[str, list[Author]] = defaultdict(list)
    for commit, author, email, paths in _commits(ended.stdout, mark):
        if commit in cut:
            continue
        for path in paths:
            within = path if folder == "." else path.removeprefix(f"{folder}/")
            found[within].append(Author(commit, author, email, within))
    named = (line.split() for line in line_of_descent.stdout.decode("ascii").splitlines())
    return History(found, {commit: before for commit, *before in named})


def _cut_off(fetched: git.Fetched) -> frozenset[str]:
    """The commits at which the fetched history ends although the repository's goes on."""
    try:
        return frozenset((fetched.repository / "shallow").read_text().split())
    except FileNotFoundError:
        return frozenset()


def _commits(output: bytes, mark: str) -> Iterator[tuple[str, str, str, Sequence[str]]]:
    for part in output.split(f"{mark}\0".encode())[1:]:
        commit, author, rest = part.split(b"\0", 2)
        email, _, names = rest.partition(b"\0")
        paths = [os.fsdecode(name.removeprefix(b"\n")) for name in names.split(b"\0") if name.strip(b"\n")]
        yield commit.decode("ascii"), _shown(author), _shown(email), paths


def _shown(text: bytes) -> str:
    return redaction.clean(text.decode("utf-8", "replace"))[: git.LONGEST_TEXT]
