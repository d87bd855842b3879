"""The files of one folder of one commit, byte by byte as git stores them: no checkout, no filter, no attribute."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrations_audit import remotes
from migrations_audit.engine import bounded, git, snapshot
from migrations_audit.engine.git_transport import FetchRefused
from migrations_audit.engine.snapshot import SnapshotRefused

MAX_LISTING_BYTES: Final = 32 * 1024**2
LFS: Final = b"version https://git-lfs.github.com/spec/"
SUBMODULE, LINK, FILE = "160000", "120000", "100"


@dataclass(frozen=True)
class _Entry:
    mode: str
    object_id: str
    size: int
    path: str


def lay_out(fetched: git.Fetched, *, folder: str, destination: Path) -> None:
    """Write the files of ``folder`` (``.`` for the root) into ``destination``, an empty folder of the caller's own.

    Symbolic links are written as such; ``snapshot.freeze`` judges them like those of any folder.

    Raises GitFolderRefused, FetchRefused with ``git_no_such_folder``, ``git_submodule``, ``git_lfs_pointer`` or ``git_tree``,
    and SnapshotRefused with ``too_large`` or ``link_leaves_folder``.
    """
    remotes.check_folder(folder)
    entries = _entries(fetched, _tree(fetched, folder))
    contents = _contents(fetched, entries)
    try:
        for entry in sorted(entries, key=lambda each: each.mode == LINK):  # links last: nothing is written through one
            _write(destination / entry.path, entry, contents[entry.object_id])
    except (FileExistsError, NotADirectoryError) as error:
        raise FetchRefused("git_tree", "The commit names one path twice. Repair the repository.") from error


def _tree(fetched: git.Fetched, folder: str) -> str:
    """The id of the folder's tree."""
    name = f"{fetched.commit.id}^{{tree}}" if folder == "." else f"{fetched.commit.id}:{folder}"
    ended = git.local(fetched.repository, "cat-file", "--batch-check", stdin=name.encode() + b"\n")
    words = ended.stdout.split()
    if len(words) == 3 and words[1] == b"tree":
        return words[0].decode()
    what = "is not a folder" if len(words) == 3 else "is not there"
    raise FetchRefused(
        "git_no_such_folder",
        f"{folder!r} {what} in commit {fetched.commit.id[:7]} of {fetched.commit.ref}. Correct the project's folder.",
    )


def _entries(fetched: git.Fetched, tree: str) -> list[_Entry]:
    try:
        ended = git.local(
            fetched.repository, "ls-tree", "-r", "-l", "-z", "--full-tree", tree, max_output_bytes=MAX_LISTING_BYTES
        )
    except bounded.WroteTooMuch as error:
        raise _too_much(f"more than {snapshot.MAX_ENTRIES:,} files") from error
    if ended.code:
        raise FetchRefused("git_tree", "The commit's files could not be listed. Repair the repository.")
    entries = list(_kept(ended.stdout))
    if len(entries) > snapshot.MAX_FILES:
        raise _too_much(f"more than {snapshot.MAX_FILES:,} files")
    if any(entry.size > snapshot.MAX_FILE_BYTES for entry in entries):
        raise _too_much(f"a file of more than {snapshot.MAX_FILE_BYTES // 1024**2} MiB")
    if sum(entry.size for entry in entries) > snapshot.MAX_TOTAL_BYTES:
        raise _too_much(f"more than {snapshot.MAX_TOTAL_BYTES // 1024**2} MiB")
    return entries


def _kept(listing: bytes) -> Iterator[_Entry]:
    for line in listing.split(b"\0")[:-1]:
        facts, _, raw = line.partition(b"\t")
        mode, _, object_id, size = facts.decode("ascii").split()
        path = os.fsdecode(raw)
        parts = path.split("/")
        if any(map(snapshot.is_left_out, parts)):
            continue
        if any(part in ("", ".", "..") for part in parts):
            raise FetchRefused(
                "git_tree", f"The commit holds a path that leads elsewhere ({path!a}). Repair the repository."
            )
        if mode == SUBMODULE:
            raise FetchRefused(
                "git_submodule",
                f"{path!a} is a submodule, which is not fetched. Choose a folder without one, or commit its files.",
            )
        if mode != LINK and not mode.startswith(FILE):
            raise FetchRefused("git_tree", f"{path!a} has the unknown mode {mode}. Repair the repository.")
        yield _Entry(mode, object_id, int(size), path)


def _contents(fetched: git.Fetched, entries: Sequence[_Entry]) -> Mapping[str, bytes]:
    """The bytes behind each object id."""
    sizes = {entry.object_id: entry.size for entry in entries}
    limit = sum(sizes.values()) + 256 * len(sizes) + 1
    asked = "".join(f"{object_id}\n" for object_id in sizes).encode()
    output = git.local(fetched.repository, "cat-file", "--batch", stdin=asked, max_output_bytes=limit).stdout
    found: dict[str, bytes] = {}
    at = 0
    for object_id, size in sizes.items():
        heading = f"{object_id} blob {size}\n".encode()
        if not output.startswith(heading, at):
            raise FetchRefused(
                "git_tree", "The commit's files could not be read from the cache. Repair the repository."
            )
        at += len(heading)
        found[object_id] = output[at : at + size]
        at += size + 1
    return found


def _write(path: Path, entry: _Entry, content: bytes) -> None:
    if entry.mode == LINK:
        target = os.fsdecode(content)
        leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), target))
        if leads_to.startswith(("/", "../")) or leads_to == ".." or not target or "\0" in target:
            raise SnapshotRefused(
                "link_leaves_folder",
                f"The symbolic link {entry.path!a} leaves the project's folder. Replace it by the file itself.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return
    if content.startswith(LFS):
        raise FetchRefused(
            "git_lfs_pointer",
            f"{entry.path!a} is kept in Git LFS, which is not fetched: only a pointer is here. Commit the file itself, "
            "or choose a folder without it.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)


def _too_much(what: str) -> SnapshotRefused:
    return SnapshotRefused(
        "too_large",
        f"The project's folder holds {what}. Choose the folder of the Alembic project, not one above it.",
    )
