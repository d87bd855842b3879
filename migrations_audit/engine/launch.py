"""Starts a process at one level of isolation, in the way that the level asks for."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from migrations_audit.engine import bubblewrap
from migrations_audit.states import Isolation

# bwrap hands no signal on, and would die of a SIGTERM to the group before the runner could tidy up. So it ignores that one; the
# runner inherits this and takes it back.
_DEAF_TO_TERM: Final = ("/bin/sh", "-c", 'trap "" TERM; exec "$@"', "opsportal")

Popen = Callable[..., "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Account:
    """An account of this machine, with all its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Confinement:
    """A level of isolation as it is put into force.

    ``account`` owns the processes when the worker's own does not. ``readable`` are further paths for a run that sees only a part
    of this machine's files.
    """

    level: Isolation
    account: Account | None = None
    readable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """The files of one run: its working directory, the snapshot that holds it, an empty home to write to, TLS files to read.

    ``writable`` are the folders of a target that is a file.

    The folder above the snapshot belongs to this run alone; another account is let in there.
    """

    folder: Path
    snapshot: Path
    home: str
    tls_files: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Started:
    """A started process. ``init`` is a pidfd of the first process of its namespace, if it got a namespace."""

    process: subprocess.Popen[bytes]
    init: int | None = None


def start(
    command: Sequence[str],
    *,
    program: Path,
    confinement: Confinement,
    place: Place,
    environment: Mapping[str, str],
    outputs: tuple[int, int],
    pass_fds: Sequence[int] = (),
) -> Started:
    """Start ``command``, whose first word is an interpreter's path, in a session of its own. It can read ``program``.

    ``outputs`` become its standard output and error; of other descriptors it inherits ``pass_fds`` and no other. Raises OSError.
    """
    stdout, stderr = outputs

    def popen(words: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words,
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            **more,
        )

    if confinement.level is Isolation.BUBBLEWRAP:
        return _start_wrapped(
            popen, command, program=program, confinement=confinement, place=place, pass_fds=tuple(pass_fds)
        )
    account = confinement.account
    if account is None:
        return Started(popen(command, pass_fds=tuple(pass_fds)))
    _let_in(account, place)
    return Started(
        popen(
            command,
            pass_fds=tuple(pass_fds),
            user=account.uid,
            group=account.gid,
            extra_groups=account.groups,
        )
    )


def _let_in(account: Account, place: Place) -> None:
    """Let the account walk to the snapshot and own its home; the folder above keeps everybody else out."""
    os.chown(place.home, account.uid, account.gid)
    above = place.snapshot.parent
    os.chown(above, -1, account.gid)
    above.chmod(0o710)


def _start_wrapped(
    popen: Popen,
    command: Sequence[str],
    *,
    program: Path,
    confinement: Confinement,
    place: Place,
    pass_fds: tuple[int, ...],
) -> Started:
    account, bwrap = confinement.account, bubblewrap.program()
    for needed, path in (("bwrap", bwrap), (command[0], shutil.which(command[0]))):
        if path is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), needed)
    with ExitStack() as stack:
        told, telling = os.pipe()
        stack.callback(os.close, told)
        closing = stack.enter_context(ExitStack())
        closing.callback(os.close, telling)
        contents = [(_in_memory(path, closing), path) for path in place.tls_files if os.access(path, os.R_OK)]
        wrap = bubblewrap.arguments(
            interpreter=command[0],
            folder=place.folder,
            snapshot=place.snapshot,
            home=place.home,
            readable=(str(program), *confinement.readable),
            writable=place.writable,
            contents=contents,
            changes_account=account is not None,
            info=telling,
        )
        process = popen(
            [*_DEAF_TO_TERM, str(bwrap), *wrap, "--", *_as(account), *command],
            pass_fds=(*pass_fds, telling, *(source for source, _ in contents)),
            group=None if account is None else account.gid,  # owns the copies of the TLS files
        )
        closing.close()
        return Started(process, _first_of_namespace(told))


def _as(account: Account | None) -> tuple[str, ...]:
    if account is None:
        return ()
    ids = ("--reuid", str(account.uid), "--regid", str(account.gid))
    return (shutil.which("setpriv") or "setpriv", *ids, "--clear-groups", "--inh-caps=-all")


def _in_memory(path: str, stack: ExitStack) -> int:
    """A descriptor from which the file's content can be read once, without a copy on disk."""
    copy = os.memfd_create("tls")
    stack.callback(os.close, copy)
    os.write(copy, Path(path).read_bytes())
    os.lseek(copy, 0, os.SEEK_SET)
    return copy


def _first_of_namespace(told: int) -> int | None:
    """A pidfd of the namespace's first process. None when bwrap ended before it made one."""
    said = b""
    while b"}" not in said:
        piece = os.read(told, 4096)
        if not piece:
            return None
        said += piece
    try:
        return os.pidfd_open(json.loads(said)["child-pid"])
    except ProcessLookupError:
        return None
