"""What tests of isolation need: a project and an interpreter that other accounts can reach, and the levels that work here."""

from __future__ import annotations

import pwd
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from migrations_audit.engine import isolation, launch
from migrations_audit.states import Isolation

PACKAGES = str(Path(psycopg.__file__).parent.parent)
ACCOUNT = pwd.getpwnam("nobody")
NOT_OFFERED = "A level of isolation was not tried, because this machine does not have it. "


@dataclass(frozen=True)
class Level:
    """A level that works on this machine, with the interpreter for which it does."""

    confinement: launch.Confinement
    interpreter: str


def offered(level: Isolation, *, python: str) -> Level:
    """The level, put into force for ``python``. Where this machine does not have it, the test says so and ends."""
    try:
        return Level(isolation.choose(wish(level), interpreter=python), python)
    except isolation.IsolationMissing as error:
        pytest.skip(f"{NOT_OFFERED}{error.message}")


def wish(level: str) -> isolation.Wish:
    """Ask for a level; the packages of this interpreter can be read."""
    return isolation.Wish(level=level, user=ACCOUNT.pw_name, readable=(PACKAGES,))


def reachable_python(folder: Path) -> str:
    """An interpreter with this one's packages in ``folder``. Where other accounts cannot walk to this one, the system's."""
    system = Path(f"/usr/bin/python{sysconfig.get_python_version()}")
    base = Path(sys.executable).resolve()
    found = base if _open_to_all(base) or not system.exists() else system
    subprocess.run([found, "-m", "venv", "--without-pip", folder], check=True, capture_output=True)
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "those_of_the_tests.pth").write_text(f"{PACKAGES}\n")
    return str(folder / "bin" / "python")


def _open_to_all(path: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


def processes_of(uid: int) -> int:
    """How many processes an account has on this machine, those that have ended and were not fetched left out."""
    count = 0
    for entry in filter(lambda each: each.name.isdigit(), Path("/proc").iterdir()):
        try:
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            count += entry.stat().st_uid == uid and state not in (b"Z", b"X")
        except OSError:
            continue
    return count
