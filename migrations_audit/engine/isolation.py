"""Which levels of isolation work on this worker, found out by trying them, and the one that a run gets."""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from migrations_audit.engine import bubblewrap, folders, launch
from migrations_audit.engine.launch import Account, Confinement
from migrations_audit.errors import PortalError
from migrations_audit.states import Isolation

AUTO: Final = "auto"
NOBODY: Final = "nobody"
"""Whose processes a wrapped runner's are when the worker is root and no account was named."""

TRIAL_S: Final = 30

# Looks at this machine as migration code would, and prints what it sees. It needs nothing but the standard library.
_TRIAL: Final = """
import json, os, sys
seen = {"uid": os.getuid(), "environments": [], "descriptors": []}
seen["namespaces"] = [os.readlink("/proc/self/ns/" + name) for name in ("pid", "mnt")]
seen["capabilities"] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
for number in map(int, os.listdir("/proc/self/fd")):
    try:
        os.fstat(number)
    except OSError:
        continue
    seen["descriptors"].append(number)
for pid in sys.argv[2:]:
    try:
        open("/proc/" + pid + "/environ", "rb").close()
    except OSError:
        continue
    seen["environments"].append(pid)
open(sys.argv[1], "rb").close()
open(os.path.join(os.environ["HOME"], "written"), "w").close()
os.listdir(".")
print(json.dumps(seen))
"""


class IsolationMissing(PortalError):
    """The isolation that is asked for does not work on this worker."""

    code = "isolation_missing"


@dataclass(frozen=True)
class Wish:
    """What a worker's settings ask for: a level's name or ``auto``, the account of runners, further paths that they may read."""

    level: str = AUTO
    user: str = ""
    readable: tuple[str, ...] = ()


def choose(wish: Wish, *, interpreter: str) -> Confinement:
    """Return the level that ``wish`` names, or the best that works here for ``interpreter``; each is tried once per process.

    Raises IsolationMissing when the named level does not work.
    """
    if wish.level != AUTO:
        level = Isolation(wish.level)
        if reason := why_not(level, wish, interpreter=interpreter):
            raise IsolationMissing(
                f"This worker is set to run migrations only with isolation {level}, which does not work here: {reason} "
                "Repair that, or change PORTAL_ISOLATION."
            )
        return _confinement(level, wish)
    works = (level for level in reversed(Isolation) if not why_not(level, wish, interpreter=interpreter))
    return _confinement(next(works), wish)


def why_not(level: Isolation, wish: Wish, *, interpreter: str) -> str:
    """Return a sentence that says why ``level`` does not work on this worker; the empty text when it does.

    What a trial found is kept for this process. One that failed is tried again: a machine under load must not lower the level of
    every later run.
    """
    try:
        return _found(level, wish, interpreter=interpreter)
    except _TrialFailed as error:
        return str(error)


@functools.cache
def _found(level: Isolation, wish: Wish, *, interpreter: str) -> str:
    if level is Isolation.NONE:
        return ""
    if sys.platform != "linux":
        return "Only Linux has it."
    if reason := _lacking(level, wish):
        return reason
    return _breach(level, wish, _try(_confinement(level, wish), interpreter))


def _lacking(level: Isolation, wish: Wish) -> str:
    """What can be said without trying."""
    root = os.geteuid() == 0
    if level is Isolation.SEPARATE_USER and not root:
        return "Only a worker that runs as root can start processes of another account."
    if level is Isolation.SEPARATE_USER and not wish.user:
        return "PORTAL_RUNNER_USER names no account."
    if level is Isolation.BUBBLEWRAP and bubblewrap.program() is None:
        return "The program bwrap (bubblewrap 0.7 or newer) is not installed."
    if level is Isolation.BUBBLEWRAP and root and shutil.which("setpriv") is None:
        return "The program setpriv (util-linux) is not installed, so a worker that is root cannot change the account."
    if level is not Isolation.NON_DUMPABLE and root:
        return _unusable(wish.user or NOBODY)
    return ""


def _unusable(user: str) -> str:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return f"This machine has no account {user}; name one in PORTAL_RUNNER_USER."
    return f"The account {user} is root itself." if entry.pw_uid == 0 else ""


def _confinement(level: Isolation, wish: Wish) -> Confinement:
    changes = level in (Isolation.SEPARATE_USER, Isolation.BUBBLEWRAP) and os.geteuid() == 0
    account = _account(wish.user or NOBODY) if changes else None
    return Confinement(level, account, wish.readable)


def _account(user: str) -> Account:
    entry = pwd.getpwnam(user)
    return Account(user, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(user, entry.pw_gid)))


class _TrialFailed(Exception):
    """The trial did not come to its end; says why."""


def _try(confinement: Confinement, interpreter: str) -> dict[str, Any]:
    """Start the trial as a runner is started, and return what it saw."""
    with folders.made("trial") as scratch:
        snapshot, home = scratch / "snapshot", scratch / "home"
        for folder in (snapshot, home):
            folder.mkdir(mode=0o755)
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
            command = [interpreter, "-I", "-c", _TRIAL, __file__, str(os.getpid()), str(os.getppid())]
            try:
                started = launch.start(
                    command,
                    program=Path(__file__),
                    confinement=confinement,
                    place=launch.Place(folder=snapshot, snapshot=snapshot, home=str(home)),
                    environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home)},
                    outputs=(said.fileno(), complained.fileno()),
                )
            except OSError as error:
                raise _TrialFailed(f"{error.filename or interpreter}: {error.strerror}.") from error
            code = _end_of(started)
            said.seek(0)
            complained.seek(0)
            if code != 0:
                lines = complained.read().decode(errors="replace").strip().splitlines()
                raise _TrialFailed(f"A trial ended with code {code}{': ' if lines else ''}{''.join(lines[-1:])[:300]}.")
            answer: dict[str, Any] = json.loads(said.read())
            return answer


def _end_of(started: launch.Started) -> int:
    try:
        return started.process.wait(TRIAL_S)
    except subprocess.TimeoutExpired as error:
        started.process.kill()
        started.process.wait()
        raise _TrialFailed(f"A trial did not end within {TRIAL_S} seconds.") from error
    finally:
        if started.init is not None:
            os.close(started.init)


def _breach(level: Isolation, wish: Wish, seen: dict[str, Any]) -> str:
    """What the trial could reach although the level promises that it cannot; the empty text when it could not."""
    own = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "mnt")]
    account = _confinement(level, wish).account
    if seen["uid"] == 0:
        return "A runner would be root, who reads everything."
    if account is not None and seen["uid"] != account.uid:
        return f"A runner would not be {account.name}."
    if level is Isolation.BUBBLEWRAP and any(ours == its for ours, its in zip(own, seen["namespaces"], strict=True)):
        return "A runner would share the portal's processes or files."
    if level is not Isolation.BUBBLEWRAP and seen["environments"]:
        return "A runner could read the environment of the portal's processes."
    if any(int(mask, 16) for mask in seen["capabilities"]):
        return "A runner would hold capabilities."
    if set(seen["descriptors"]) - {0, 1, 2}:
        return "A runner would inherit more than its pipes."
    return ""
