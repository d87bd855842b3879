"""Virtual environments of published projects: made once from a lock file with hashes, kept beside the tests' own packages.

Each lies in a folder that is named after what it was made from, so that another lock file or another Python makes another one.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import dev

PROJECTS = Path(__file__).resolve().parent / "acceptance" / "projects"
KEPT = Path(sys.prefix) / "projects"


@dataclass(frozen=True)
class Environment:
    """The virtual environment of ``projects/<name>/requirements.lock``. It is there after ``make``."""

    name: str

    @property
    def lock(self) -> Path:
        return PROJECTS / self.name / "requirements.lock"

    @property
    def folder(self) -> Path:
        made_from = hashlib.sha256(self.lock.read_bytes() + sys.version.encode()).hexdigest()
        return KEPT / f"{self.name}-{made_from[:16]}"

    @property
    def interpreter(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        return self.folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"

    def make(self) -> None:
        """Install what the lock file says unless it is there. Other test processes wait meanwhile."""
        complete = self.folder / "complete"
        KEPT.mkdir(exist_ok=True)
        with (KEPT / f"{self.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if complete.exists():
                return
            for outdated in KEPT.glob(f"{self.name}-*"):  # an older lock file's, or an interrupted installation
                shutil.rmtree(outdated)
            self._install()
            complete.touch()

    def _install(self) -> None:
        if not dev.install_uv():
            pytest.fail(f"uv could not be installed, so {self.name} was not tried. {dev.LOG} says why.")
        self._uv("venv", "--python", sys.executable, str(self.folder))
        options = ("--compile-bytecode", "--require-hashes", "--requirement", str(self.lock))
        self._uv("pip", "install", "--python", str(self.interpreter), *options)

    def _uv(self, *words: str) -> None:
        command = [str(dev.PYTHON), "-m", "uv", "--quiet", *words]
        ended = subprocess.run(command, env=dev.installer_environment(), capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.fail(f"{self.name} could not be installed:\n{ended.stderr[-2000:]}")
