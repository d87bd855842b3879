"""Interpreters that a worker builds with uv from a snapshot's own requirements, into a cache named by their digest.

Only wheels whose hashes stand in the approved files are installed, so nothing of a dependency runs while it is being installed.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrations_audit import hashchain
from migrations_audit.engine import bounded, caches, folders, redaction, requirements
from migrations_audit.engine.requirements import BuildRefused

FORMAT: Final = "opsportal-interpreter/1"
KEPT: Final = 20
STAYS_S: Final = 86_400.0
"""A run that uses an environment has ended within a day."""

WAIT_S: Final = 900.0
OUTPUT_BYTES: Final = 4 * 1024**2
LONGEST_COMPLAINT: Final = 400
LOCK_FILE: Final = "uv.lock"
PYPROJECT: Final = "pyproject.toml"
PASSED_ON: Final = (
    "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES",
    "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
)  # fmt: skip

_KINDS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), code, sentence)
    for pattern, code, sentence in (
        (
            r"hash mismatch",
            "build_hash_mismatch",
            "The index gave a file away whose hash is not the approved one. Find out why before anything else.",
        ),
        (
            r"--require-hashes|pinned upfront|no trusted hash",
            "requirements_not_pinned",
            "The requirements leave out a package that another one needs. Write them with uv export or uv pip compile.",
        ),
        (
            r"no usable wheels|no wheels? |building source distributions? .{0,40}disabled|only.binary|no.build",
            "build_needs_wheels",
            "A package has no wheel for this worker, and nothing is built from source here. Pin a version that has one.",
        ),
        (
            r"failed to fetch|error sending request|connect|dns error|timed out|40[13] (?:unauthorized|forbidden)",
            "index_unreachable",
            "The package index does not answer this worker, or does not let it in. Check UV_DEFAULT_INDEX and the network.",
        ),
    )
)


@dataclass(frozen=True)
class Limits:
    """Seconds for one build and the bytes that it may take up."""

    build_s: float = 600.0
    max_bytes: int = 4 * 1024**3


@dataclass(frozen=True)
class Recipe:
    """What an interpreter is built from. ``digest`` covers it all, with the version of Python."""

    path: str
    digest: str
    content: bytes
    pyproject: bytes | None


def recipe(files: Mapping[str, bytes], *, path: str) -> Recipe:
    """The recipe that the snapshot's ``files`` hold: a ``uv.lock`` with its ``pyproject.toml``, or a requirements file.

    Raises BuildRefused with ``requirements_missing`` or ``requirements_not_pinned``.
    """
    content = _file(files, path)
    pyproject = None
    if posixpath.basename(path) == LOCK_FILE:
        pyproject = _file(files, posixpath.join(posixpath.dirname(path), PYPROJECT))
    else:
        requirements.read(_text(content, path), path=path)
    facts = {
        "format": FORMAT,
        "python": f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}",
        "requirements": hashlib.sha256(content).hexdigest(),
        "pyproject": hashlib.sha256(pyproject).hexdigest() if pyproject is not None else "",
    }
    return Recipe(path, hashchain.digest(hashchain.canonical(facts)), content, pyproject)


def interpreter(wanted: Recipe, *, cache: str, limits: Limits = Limits()) -> str:
    """The path of the Python in the recipe's environment, which is built unless it is there already.

    Raises BuildRefused with the reason, NoCache and CacheBusy.
    """
    parent = caches.folder_in(cache, "environments", mode=0o755)
    folder = parent / hashchain.digest(f"{wanted.digest} {sysconfig.get_platform()}")
    python = folder / "bin" / "python"
    with caches.locked(folder, within_s=WAIT_S) as lock:
        if not os.access(python, os.X_OK):
            _Build(wanted, folder, limits, lock).make()
        caches.note_use(folder)
    caches.keep_last_used(parent, count=KEPT, idle_s=STAYS_S)
    return str(python)


class _Build:
    """One build, beside the place where it goes; its lock is held by the caller."""

    def __init__(self, wanted: Recipe, folder: Path, limits: Limits, lock: int) -> None:
        self._wanted = wanted
        self._folder = folder
        self._unfinished = folder.with_name(folder.name + caches.UNFINISHED)
        self._limits = limits
        self._lock = lock
        self._uv = _uv()

    def make(self) -> None:
        """Build, compile, and put into place in one step. What does not succeed leaves nothing."""
        for leftover in (self._folder, self._unfinished):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            with folders.made("build") as scratch:
                self._install(scratch)
            self._unfinished.rename(self._folder)
        except bounded.TookTooLong as error:
            raise BuildRefused("build_timed_out", f"The interpreter was not built in time. {error.message}") from None
        except bounded.WroteTooMuch as error:
            raise BuildRefused("build_too_large", f"The interpreter would be too large. {error.message}") from None
        finally:
            shutil.rmtree(self._unfinished, ignore_errors=True)

    def _install(self, scratch: Path) -> None:
        pins = requirements.read(self._requirements(scratch), path=self._wanted.path)
        told = scratch / "pins.txt"
        told.write_text("".join(f"{pin.line}\n" for pin in pins))
        self._call(
            scratch, self._uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(self._unfinished)
        )
        python = str(self._unfinished / "bin" / "python")
        self._call(
            scratch, self._uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "--no-build",
            "--no-compile-bytecode", "--requirements", str(told),
        )  # fmt: skip
        # By the worker's own Python and without the site module: the new one would run what a package's .pth file says.
        # Some packages hold files for other versions of Python, which do not compile; that is no failure.
        moved = ("-s", str(self._unfinished), "-p", str(self._folder))
        self._run(scratch, sys.executable, "-I", "-S", "-m", "compileall", "-q", *moved, str(self._unfinished / "lib"))

    def _requirements(self, scratch: Path) -> str:
        if self._wanted.pyproject is None:
            return _text(self._wanted.content, self._wanted.path)
        (scratch / LOCK_FILE).write_bytes(self._wanted.content)
        (scratch / PYPROJECT).write_bytes(self._wanted.pyproject)
        ended = self._call(
            scratch, self._uv, "export", "--quiet", "--frozen", "--offline", "--no-dev", "--no-emit-project", "--no-header",
            "--no-annotate", "--python", sys.executable, "--format", "requirements-txt",
        )  # fmt: skip
        return ended.stdout.decode("utf-8", "replace")

    def _call(self, scratch: Path, *command: str) -> bounded.Ended:
        ended = self._run(scratch, *command)
        if ended.code:
            raise _refusal(ended.stderr)
        return ended

    def _run(self, scratch: Path, *command: str) -> bounded.Ended:
        return bounded.run(
            command,
            environment=_environment(str(scratch)),
            timeout_s=self._limits.build_s,
            folder=scratch,
            max_output_bytes=OUTPUT_BYTES,
            grows=self._unfinished,
            max_growth_bytes=self._limits.max_bytes,
            keep_open=(self._lock,),
        )


def _environment(scratch: str) -> dict[str, str]:
    """Nothing of the worker's environment but where packages come from."""
    given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if "PIP_INDEX_URL" in os.environ and "UV_INDEX_URL" not in given:
        given.setdefault("UV_DEFAULT_INDEX", os.environ["PIP_INDEX_URL"])
    return {
        "UV_SYSTEM_CERTS": "1",
        **given,
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": scratch,
        "TMPDIR": scratch,
        "UV_NO_CONFIG": "1",
        "UV_NO_CACHE": "1",
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
    }


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise BuildRefused(
            "uv_missing", "uv is not installed on this worker, so it cannot build interpreters. Install it there."
        )
    return found


def _refusal(complaint: str) -> BuildRefused:
    for pattern, code, sentence in _KINDS:
        if pattern.search(complaint):
            return BuildRefused(code, f"{sentence} uv said: {_shortened(complaint)}")
    return BuildRefused("build_failed", f"uv could not build the interpreter: {_shortened(complaint)}")


def _shortened(complaint: str) -> str:
    """One line for people. The address of an index may hold a password."""
    passwords = redaction.secrets_in(
        {name: os.environ[name] for name in (*PASSED_ON, "PIP_INDEX_URL") if name in os.environ}
    )
    words = " ".join(redaction.Redactor(passwords).text(complaint).split())
    return f"{words[:LONGEST_COMPLAINT].rstrip('.') or 'nothing'}."


def _file(files: Mapping[str, bytes], path: str) -> bytes:
    if path not in files:
        raise BuildRefused(
            "requirements_missing", f"The snapshot has no file {path!r}. Correct the project's requirements."
        )
    return files[path]


def _text(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BuildRefused("requirements_not_pinned", f"{path} is not UTF-8 text.") from None
