"""Under which identity the PostgreSQL programs run: they refuse to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from opsportal.local import process

_NOBODY_IN_NAMESPACE = ("unshare", "-U", "--map-user=65534", "--map-group=65534", "--")


@dataclass(frozen=True)
class Account:
    """An identity for a server: a command to put in front, or a user to become. Neither: run as we are."""

    name: str
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    @property
    def files_uid(self) -> int:
        """The owner that the server's files have on disk."""
        return os.geteuid() if self.uid is None else self.uid

    @property
    def groups(self) -> list[int] | None:
        """The further groups of a process under this identity: none for a changed user, else the ones we have."""
        return None if self.uid is None else []

    def can_reach(self, path: Path) -> bool:
        """Tell whether a server under this identity can walk to ``path``. A changed user needs every parent open to all."""
        if self.uid is None:
            return True
        return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))

    def take(self, path: Path) -> None:
        """Give ``path`` and all in it to this identity, when somebody else owns it. Raises LaunchFailed when it may not."""
        if path.stat().st_uid == self.files_uid:
            return
        gid = os.getegid() if self.gid is None else self.gid
        for each in (path, *path.rglob("*")):
            try:
                os.chown(each, self.files_uid, gid, follow_symlinks=False)
            except PermissionError as error:
                raise process.LaunchFailed(
                    f"{each} belongs to another user. Start as that user or choose another data folder."
                ) from error


def available() -> list[Account]:
    """Return the identities that can run PostgreSQL for this user on this machine, best first.

    For root: a user namespace in which root is seen as an ordinary user (works in a folder that only root may enter),
    then the account ``nobody`` (works where user namespaces are refused).
    """
    if os.geteuid() != 0:
        return [Account("this user")]
    found = []
    if _namespaces_work():
        found.append(Account("user namespace", prefix=_NOBODY_IN_NAMESPACE))
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return found
    return [*found, Account("nobody", uid=nobody.pw_uid, gid=nobody.pw_gid)]


def best() -> Account:
    """Return the first of ``available``. Raises LaunchFailed when there is none."""
    found = available()
    if not found:
        raise process.LaunchFailed(
            "PostgreSQL refuses to run as root, and here neither a user namespace nor an account named nobody exists. "
            "Start as an ordinary user, or set DATABASE_URL."
        )
    return found[0]


def _namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = subprocess.run([*_NOBODY_IN_NAMESPACE, "true"], capture_output=True, check=False)
    return trial.returncode == 0
