"""Freezing the script files of a project: one digest, one archive, and the way back to files on a disk."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from migrations_audit import hashchain
from migrations_audit.engine import types
from migrations_audit.errors import Invalid

FORMAT: Final = "opsportal-snapshot/1"
MAX_FILES: Final = 5_000
MAX_ENTRIES: Final = 50_000
MAX_FILE_BYTES: Final = 8 * 1024**2
MAX_TOTAL_BYTES: Final = 64 * 1024**2
EXCLUDED: Final = (
    ".git", "__pycache__", "*.pyc", "*.pyo", ".venv", "venv", "node_modules", ".mypy_cache", ".pytest_cache", ".env", ".env.*",
    ".pgpass", ".netrc", ".ssh", ".aws", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*",
)  # fmt: skip


class SnapshotRefused(Invalid):
    """The project's files cannot be frozen or taken out of their archive."""

    code = "snapshot_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def freeze(folder: Path, *, config_path: str, ini_section: str, roots: Sequence[Path] | None = None) -> types.Frozen:
    """Read every file below ``folder`` once and return digest, file list and archive.

    Left out, wherever they stand: ``.git``, ``__pycache__``, ``*.pyc``, ``*.pyo``, ``.venv``, ``venv``, ``node_modules``,
    ``.mypy_cache``, ``.pytest_cache``, and ``.env`` and ``.env.*`` because they hold secrets; a project that reads its
    settings from such a file gets them as extra environment instead.

    A symbolic link to something inside the folder enters as a copy of what it points to. With ``roots``, the folder must
    be one of them or lie below one. The same files give the same digest and the same bytes.

    Raises SnapshotRefused: for a folder or configuration file that is absent or outside, a link that leaves the folder
    or runs in a circle, anything that is neither file nor folder, a name that is not printable text, an unreadable file,
    a file that changed under the reader, and for more than 5,000 files, 8 MiB in one file or 64 MiB together.
    """
    root = _existing(folder, roots)
    contents = _Reader(root).contents()
    if _plain_path(config_path) != config_path or config_path not in contents:
        raise SnapshotRefused(
            "config_missing",
            f"There is no configuration file {config_path!r} in the project's folder. Give its path relative to the folder.",
        )
    listed = _listed(contents)
    return types.Frozen(
        digest=_digest(listed, config_path=config_path, ini_section=ini_section), files=listed, archive=_pack(contents)
    )


def unpack(archive: bytes, *, digest: str, config_path: str, ini_section: str, destination: Path) -> None:
    """Write the files of an archive below ``destination``, an empty or absent folder, if they are the files of ``digest``.

    Raises SnapshotRefused when the archive is damaged, when its files have another digest (nothing is written then), and
    when the destination holds something.
    """
    contents = files(archive)
    found = _digest(_listed(contents), config_path=config_path, ini_section=ini_section)
    if found != digest:
        raise SnapshotRefused(
            "digest_mismatch",
            f"The archive holds other files than the snapshot: expected digest {digest}, found {found}. "
            "Take a new snapshot of the project.",
        )
    destination.mkdir(mode=0o755, parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise SnapshotRefused("destination_not_empty", f"The folder {destination.name!r} to unpack into is not empty.")
    for path, content in contents.items():
        target = destination / path
        for parent in reversed(target.relative_to(destination).parents[:-1]):
            (destination / parent).mkdir(exist_ok=True)
            (destination / parent).chmod(0o755)
        with target.open("xb") as handle:
            handle.write(content)
        target.chmod(0o644)


def files(archive: bytes) -> dict[str, bytes]:
    """The files of an archive by path, in memory. Raises SnapshotRefused for an archive that ``freeze`` cannot have made."""
    contents: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                total += member.size
                handle = tar.extractfile(member) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
                if (
                    handle is None
                    or _plain_path(member.name) != member.name
                    or member.name in contents
                    or max(len(contents) / MAX_FILES, member.size / MAX_FILE_BYTES, total / MAX_TOTAL_BYTES) > 1
                ):
                    raise _damaged(f"it holds the unexpected entry {member.name!r}")
                contents[member.name] = handle.read()
            # The reader stops without a word at a broken header, and at an early end.
            if archive[tar.offset :].strip(b"\0") or not archive.endswith(bytes(2 * tarfile.BLOCKSIZE)):
                raise _damaged("it does not end where it should")
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _damaged("it is not a complete archive") from error
    return contents


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is left out of every snapshot."""
    return any(fnmatchcase(name, pattern) for pattern in EXCLUDED)


def _damaged(reason: str) -> SnapshotRefused:
    return SnapshotRefused("archive_damaged", f"The snapshot's archive is damaged: {reason}. Take a new snapshot.")


def _plain_path(path: str) -> str:
    """``path`` as the archive would name it, or an empty text when it is absolute, leaves the folder or is not printable."""
    normal = posixpath.normpath(path)
    if not path.isprintable() or normal.startswith(("/", "../")) or normal in (".", ".."):
        return ""
    return normal


def _listed(contents: Mapping[str, bytes]) -> tuple[types.ScriptFile, ...]:
    return tuple(
        types.ScriptFile(path=path, sha256=hashlib.sha256(contents[path]).hexdigest(), size=len(contents[path]))
        for path in sorted(contents)
    )


def _digest(listed: Sequence[types.ScriptFile], *, config_path: str, ini_section: str) -> str:
    return hashchain.digest(
        hashchain.canonical(
            {
                "format": FORMAT,
                "config_path": config_path,
                "ini_section": ini_section,
                "files": [[item.path, item.sha256, item.size] for item in listed],
            }
        )
    )


def _pack(contents: Mapping[str, bytes]) -> bytes:
    """An uncompressed archive: what a compressor writes differs between its versions, and PostgreSQL compresses anyway."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(contents):
            member = tarfile.TarInfo(path)
            member.size = len(contents[path])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(contents[path]))
    return buffer.getvalue()


def _existing(folder: Path, roots: Sequence[Path] | None) -> Path:
    try:
        root = folder.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise SnapshotRefused(
            "folder_missing", f"The project's folder {folder} cannot be reached. Check its path and rights."
        ) from error
    if not root.is_dir():
        raise SnapshotRefused(
            "not_a_folder", f"{folder} is not a folder. Name the folder that holds the configuration file."
        )
    if roots is not None and not any(root.is_relative_to(item.resolve()) for item in roots):
        raise SnapshotRefused("outside_roots", f"{folder} is not below a folder from which projects may be read.")
    return root


class _Reader:
    """Walks one folder and keeps the bytes of its files, within the limits."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._contents: dict[str, bytes] = {}
        self._total = 0
        self._entries = 0

    def contents(self) -> dict[str, bytes]:
        todo: list[tuple[Path, str, frozenset[Path]]] = [(self._root, "", frozenset({self._root}))]
        while todo:
            directory, prefix, above = todo.pop()
            for name in self._names(directory, prefix):
                shown = prefix + name
                path, mode = self._followed(directory / name, shown)
                if stat.S_ISDIR(mode):
                    if path in above:
                        raise SnapshotRefused(
                            "link_loop", f"The symbolic link {shown} leads back to a folder above it. Remove it."
                        )
                    todo.append((path, shown + "/", above | {path}))
                else:
                    self._keep(shown, path, mode)
        return self._contents

    def _names(self, directory: Path, prefix: str) -> list[str]:
        try:
            names = [name for name in os.listdir(directory) if not is_left_out(name)]
        except OSError as error:
            raise _unreadable(prefix.rstrip("/") or ".", error) from error
        for name in names:
            if not name.isprintable():
                raise SnapshotRefused(
                    "file_name",
                    f"The name {prefix + name!a} holds characters that are not printable text. Rename the file.",
                )
        self._entries += len(names)
        if self._entries > MAX_ENTRIES:
            raise _too_much(f"more than {MAX_ENTRIES:,} files and folders", prefix)
        return names

    def _followed(self, path: Path, shown: str) -> tuple[Path, int]:
        """The real path behind ``path`` and its mode. The parent is real already, so only a link changes anything."""
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                path = path.resolve(strict=True)
                mode = path.lstat().st_mode
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno != errno.ELOOP:
                raise _unreadable(shown, error) from error
            raise SnapshotRefused("link_loop", f"The symbolic link {shown} runs in a circle. Remove it.") from error
        if not path.is_relative_to(self._root):
            raise SnapshotRefused(
                "link_leaves_folder",
                f"The symbolic link {shown} leaves the project's folder. Replace it by the file itself.",
            )
        if any(map(is_left_out, path.relative_to(self._root).parts)):
            raise SnapshotRefused(
                "link_to_excluded", f"The symbolic link {shown} points to what every snapshot leaves out. Remove it."
            )
        return path, mode

    def _keep(self, shown: str, path: Path, mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise _special(shown)
        if len(self._contents) >= MAX_FILES:
            raise _too_much(f"more than {MAX_FILES:,} files", shown)
        try:
            content = _read_once(path, shown)
        except OSError as error:
            raise _unreadable(shown, error) from error
        self._total += len(content)
        if self._total > MAX_TOTAL_BYTES:
            raise _too_much(f"more than {MAX_TOTAL_BYTES // 1024**2} MiB", shown)
        self._contents[shown] = content


def _read_once(path: Path, shown: str) -> bytes:
    """The bytes of one file, from one open descriptor, so that what is hashed is what is archived."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as handle:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise _special(shown)
        if before.st_size > MAX_FILE_BYTES:
            raise _too_much(f"a file of more than {MAX_FILE_BYTES // 1024**2} MiB", shown)
        content = handle.read(MAX_FILE_BYTES + 1)
        after = os.fstat(descriptor)
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not unchanged or len(content) != before.st_size:
        raise SnapshotRefused("file_changed", f"The file {shown} changed while it was read. Take the snapshot again.")
    return content


def _special(shown: str) -> SnapshotRefused:
    return SnapshotRefused(
        "special_file", f"{shown} is neither a file nor a folder (a pipe, device or socket). Remove it."
    )


def _unreadable(shown: str, error: OSError) -> SnapshotRefused:
    return SnapshotRefused(
        "unreadable_file", f"{shown} cannot be read ({error.strerror}). Give the portal's worker the right to read it."
    )


def _too_much(what: str, shown: str) -> SnapshotRefused:
    return SnapshotRefused(
        "too_large",
        f"The project's folder holds {what} (reached at {shown}). Choose the folder of the Alembic project, not one above it.",
    )
