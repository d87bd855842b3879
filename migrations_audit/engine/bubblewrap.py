"""The command line of bubblewrap: a view of this machine that holds the interpreter, the snapshot, the network and no more.

Nothing of the portal is in it, not its folder, its processes or its home. What a run writes is in memory and ends with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

Mount = tuple[str, ...]
"""The words of one of bwrap's options that make something appear; the last is where."""

SCRATCH_BYTES: Final = 512 * 1024**2
SHARED_MEMORY_BYTES: Final = 64 * 1024**2

# Not all of /usr: images like to keep applications in /usr/src.
_SYSTEM: Final = (
    *(f"/{name}" for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32")),
    *(f"/usr/{name}" for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share", "local")),
)
_BELOW_SYSTEM: Final = tuple(f"{path}/" for path in _SYSTEM)
_ETC: Final = tuple(
    f"/etc/{name}"
    for name in (
        *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "os-release", "passwd", "group"),
        *("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols"),
        *("localtime", "timezone", "locale.alias", "mime.types"),
        *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates/extracted", "crypto-policies"),
        *("pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf", "pki/ca-trust/extracted"),
    )
)
# A worker that is root gives these to the small program that changes the account, and they are gone after it.
_FOR_THE_CHANGE: Final = ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")


def program() -> str | None:
    """Where bwrap is, or None."""
    return shutil.which("bwrap")


def arguments(
    *,
    interpreter: str,
    folder: Path,
    snapshot: Path,
    home: str,
    readable: Iterable[str],
    writable: Iterable[str],
    contents: Iterable[tuple[int, str]],
    changes_account: bool,
    info: int,
) -> list[str]:
    """Return bwrap's arguments up to the command.

    ``writable`` are folders in which the run keeps what it writes. ``contents`` are pairs of a descriptor and the path at which
    a file shall have what is read from it: keys that only the worker can read. Facts about the namespace are written to
    ``info``.
    """
    secret = "0640" if changes_account else "0600"  # libpq refuses more: its own key, or one of root for its group
    mounts = [
        _in_memory("/dev/shm", SHARED_MEMORY_BYTES),  # noqa: S108  a mount of its own
        _in_memory("/tmp", SCRATCH_BYTES),  # noqa: S108  a mount of its own
        _in_memory(home, SCRATCH_BYTES),
        *(_as_it_is(path) for path in (*_SYSTEM, *_ETC) if os.path.lexists(path)),
        *_of_interpreter(interpreter),
        *(("--ro-bind-try", path, path) for path in (str(snapshot), *readable)),
        *(("--bind", path, path) for path in writable),
        *(("--perms", secret, "--ro-bind-data", str(source), path) for source, path in contents),
    ]
    return [
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent"),
        *("--cap-drop", "ALL", *(_FOR_THE_CHANGE if changes_account else ())),
        *("--info-fd", str(info), "--proc", "/proc", "--dev", "/dev"),
        *(word for mount in _with_parents(mounts) for word in mount),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(folder)),
    ]


def _with_parents(mounts: Iterable[Mount]) -> Iterator[Mount]:
    """The mounts, before each the folders above it: bwrap makes those for its own account alone."""
    made: set[str] = set()
    for mount in mounts:
        for parent in reversed(Path(mount[-1]).parents[:-1]):
            if str(parent) not in made:
                made.add(str(parent))
                yield ("--perms", "0755", "--dir", str(parent))
        made.add(mount[-1])
        yield mount


def _in_memory(path: str, size: int) -> Mount:
    return ("--perms", "1777", "--size", str(size), "--tmpfs", path)


def _as_it_is(path: str) -> Mount:
    """A directory or file of the system, or the link that it is; one that leads elsewhere becomes what it leads to."""
    real = os.path.realpath(path)
    if os.path.islink(path) and real.startswith("/usr/"):
        return ("--symlink", os.readlink(path), path)
    return ("--ro-bind-try", real, path)


def _of_interpreter(interpreter: str) -> Iterator[Mount]:
    """What lets ``interpreter`` start: each link on the way to the program, and the installations that they lie in."""
    seen: set[str] = set()
    ways = [interpreter]
    while ways:
        way = os.path.abspath(ways.pop())
        prefix = os.path.dirname(os.path.dirname(way))
        if way.startswith(_BELOW_SYSTEM) or way in seen:
            continue
        seen.add(way)
        if os.path.islink(way):
            ways.append(os.path.join(os.path.dirname(way), os.readlink(way)))
        if prefix in seen:
            continue
        if _is_installation(prefix):
            seen.add(prefix)
            yield ("--ro-bind", os.path.realpath(prefix), prefix)
            ways += _base_of(prefix)
        elif os.path.islink(way):
            yield ("--symlink", os.readlink(way), way)
        else:
            yield ("--ro-bind", way, way)


def _is_installation(prefix: str) -> bool:
    root = Path(prefix)
    return (root / "pyvenv.cfg").is_file() or any(root.glob("lib*/python3*/os.py"))


def _base_of(environment: str) -> list[str]:
    """The program behind a virtual environment, by the folder that its settings name."""
    try:
        lines = (Path(environment) / "pyvenv.cfg").read_text().splitlines()
    except OSError:
        return []
    pairs = (line.partition("=") for line in lines)
    return [os.path.join(value.strip(), "python3") for name, _, value in pairs if name.strip() == "home"]
