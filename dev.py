#!/usr/bin/env python3
"""Everything a developer starts, on a machine with nothing but Python, git and a network.

    python3 dev.py demo [--walk] [--exit] [--data DIR] [--port N]
                                  start the portal with its story; --walk plays the story, --exit stops afterwards
    python3 dev.py test [...]     all tests; further words go to pytest
    python3 dev.py lint           style, types, layers, and Django migrations that are missing
    python3 dev.py bench [...]    the benchmarks
    python3 dev.py chaos [--runs N] [--seed S] [--workers K] [--keep]
                                  N runs while things are killed, frozen and sent twice; compares every verdict with the
                                  truth. The seed decides the plan (--show-plan), not how fast this machine is meanwhile
    python3 dev.py screenshots [...]  pictures of the pages
    python3 dev.py lock [...]     resolve the lock files anew; further words go to `uv pip compile`

The first start makes the folder .venv and installs the lock file into it; later starts see that nothing has changed.
This file needs the standard library only.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

CALLED_FROM = os.getcwd()
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUNTIME, DEV, PRODUCTION = "requirements.lock", "requirements-dev.lock", "requirements-production.lock"
UV = ROOT / "opsportal" / "local" / "uv-requirements.txt"
BROKEN = VENV / "opsportal-installing"  # there while an install is under way: found at a start, it was interrupted
LOG = VENV / "opsportal-install.log"
OLDEST = (3, 11)

# mypy's Django plugin and `makemigrations --check` load the settings but connect to nothing.
PLACEHOLDERS = {
    "SECRET_KEY": "lint",
    "DATABASE_URL": "postgresql://lint@127.0.0.1:1/lint",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "PORTAL_MODE": "test",
}
CHECKS = [
    ["-m", "ruff", "check", "."],
    ["-m", "ruff", "format", "--check", "."],
    ["-m", "mypy", "."],
    ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    ["-W", "ignore:Got an error checking:RuntimeWarning", "manage.py", "makemigrations", "--check", "--dry-run"],
]


class Stop(Exception):
    """The command cannot go on; the message tells the user why and what to do."""


def main(words: list[str]) -> int:
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command not in COMMANDS or "--help" in words or "-h" in words[:2]:
        print((__doc__ or "").strip())
        return 0 if words and (command in COMMANDS or command in ("-h", "--help")) else 2
    os.chdir(ROOT)
    return COMMANDS[command](rest)


def demo(rest: list[str]) -> int:
    data = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    data.add_argument("--data", type=lambda text: os.path.join(CALLED_FROM, text), default=str(ROOT / ".portal"))
    folder, others = data.parse_known_args(rest)
    install(RUNTIME)
    return become(["-m", "opsportal.local.demo", "--data", folder.data, *others])


def test(rest: list[str]) -> int:
    install(DEV)
    return become(["-m", "pytest", "-n", "2", *rest])


def bench(rest: list[str]) -> int:
    install(DEV)
    return become(["-m", "tests.bench", *rest])


def chaos(rest: list[str]) -> int:
    install(DEV)
    return become(["-m", "tests.chaos", *rest])


def screenshots(rest: list[str]) -> int:
    install(DEV)
    return become(["-m", "opsportal.demo.screenshots", *rest])


def lint(_: list[str]) -> int:
    install(DEV)
    failed: list[list[str]] = []
    for check in CHECKS:
        print(f"$ python {' '.join(check)}", flush=True)
        if subprocess.run([str(PYTHON), *check], env={**os.environ, **PLACEHOLDERS}, check=False).returncode:
            failed.append(check)
    for check in failed:
        print(f"FAILED: python {' '.join(check)}", file=sys.stderr)
    return 1 if failed else 0


def lock(rest: list[str]) -> int:
    install(DEV)
    install_uv()
    groups_of: dict[str, list[str]] = {RUNTIME: ["local"], DEV: ["local", "dev"], PRODUCTION: ["rehearsal"]}
    for file, groups in groups_of.items():
        options = [word for group in groups for word in ("--group", group)]
        options += [
            "--universal",
            "--python-version",
            "3.11",
            "--generate-hashes",
            "--no-header",
            "--output-file",
            file,
        ]
        command = [str(PYTHON), "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", *options, *rest]
        if subprocess.run(command, env=installer_environment(), check=False).returncode:
            return 1
    return 0


COMMANDS = {
    "demo": demo,
    "test": test,
    "lint": lint,
    "bench": bench,
    "chaos": chaos,
    "screenshots": screenshots,
    "lock": lock,
}


def become(arguments: list[str]) -> int:
    """Replace this process, so that a signal sent to it reaches the program itself."""
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), *arguments])


def install(lock_file: str) -> None:
    """Make .venv hold what ``lock_file`` says; return at once when it does."""
    if is_installed(lock_file):
        return
    with Path(__file__).open() as handle:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return install_alone(lock_file)
        print("Another start is installing; waiting for it …", flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
        install_alone(lock_file)


def install_alone(lock_file: str) -> None:
    if is_installed(lock_file):
        return
    try:
        if BROKEN.exists() or (VENV.exists() and not works(PYTHON)):
            shutil.rmtree(VENV)
        if not VENV.exists():
            make_environment()
        for each in (RUNTIME, DEV):
            stamp(each).unlink(missing_ok=True)
        BROKEN.touch()
        with_uv = install_uv() and step(
            f"Installing {lock_file} with uv",
            [
                PYTHON,
                "-m",
                "uv",
                "pip",
                "install",
                "--python",
                PYTHON,
                "--compile-bytecode",
                "--require-hashes",
                "-r",
                lock_file,
            ],
        )
        if not with_uv and not step(f"Installing {lock_file} with pip", pip(["--require-hashes", "-r", lock_file])):
            raise Stop(f"The packages could not be installed. The end of {LOG}:\n{last_lines(LOG)}")
        stamp(lock_file).write_text(fingerprint(lock_file))
        BROKEN.unlink()
    except PermissionError as error:
        raise Stop(
            f"{error.filename} belongs to another user. Start as that user, or use a clone of your own."
        ) from error


def make_environment() -> None:
    """Make .venv without pip, because Debian's python3 has no ensurepip; where pip itself is missing, with it."""
    if not os.access(ROOT, os.W_OK):
        raise PermissionError(errno.EACCES, "not writable", str(ROOT))
    without_pip = ["--without-pip"] if importlib.util.find_spec("pip") else []
    if not without_pip and importlib.util.find_spec("ensurepip") is None:
        raise Stop(
            f"{sys.executable} has neither pip nor ensurepip. Install one of them and start again "
            "(Debian, Ubuntu: apt-get install python3-pip; Fedora: dnf install python3-pip)."
        )
    made = subprocess.run(
        [sys.executable, "-m", "venv", *without_pip, VENV],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        said = (made.stdout + made.stderr).strip()
        raise Stop(
            f"{sys.executable} could not make {VENV}:\n{said}\n"
            "Install pip and start again (Debian, Ubuntu: apt-get install python3-pip)."
        )


def install_uv() -> bool:
    return works(PYTHON, "-m", "uv", "--version") or step("Installing uv", pip(["--require-hashes", "-r", UV]))


def pip(arguments: list[str | Path]) -> list[str | Path]:
    inside = [PYTHON, "-m", "pip"] if works(PYTHON, "-m", "pip", "--version") else [sys.executable, "-m", "pip"]
    target = [] if inside[0] == PYTHON else ["--python", PYTHON]
    return [*inside, *target, "install", "--no-input", *arguments]


def step(title: str, command: list[str | Path]) -> bool:
    """Run an installer; say that it is still at work every ten seconds and how long it took."""
    print(f"{title} …", flush=True)
    begin = time.monotonic()
    with LOG.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=installer_environment()
        )
        try:
            while True:
                try:
                    code = child.wait(10)
                    break
                except subprocess.TimeoutExpired:
                    print(f"  … {time.monotonic() - begin:.0f} s", flush=True)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    print(
        f"  {'finished' if code == 0 else f'did not work (exit code {code}, see {LOG})'} after {time.monotonic() - begin:.1f} s"
    )
    return code == 0


def installer_environment() -> dict[str, str]:
    """Let uv trust what the system trusts, use pip's index, and keep user settings of pip from breaking a venv install."""
    settings = {
        "UV_SYSTEM_CERTS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if "PIP_INDEX_URL" in os.environ:
        settings["UV_DEFAULT_INDEX"] = os.environ["PIP_INDEX_URL"]
    return {**settings, **os.environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}


def is_installed(lock_file: str) -> bool:
    """Tell whether .venv holds ``lock_file``, or the larger lock file that contains it."""
    if BROKEN.exists() or not PYTHON.exists():
        return False
    holders = (RUNTIME, DEV) if lock_file == RUNTIME else (DEV,)
    return any(stamp(each).exists() and stamp(each).read_text() == fingerprint(each) for each in holders)


def stamp(lock_file: str) -> Path:
    return VENV / f"opsportal-{lock_file}.sha256"


def fingerprint(lock_file: str) -> str:
    """Identify the lock file and the Python that the packages were built for."""
    parts = [(ROOT / lock_file).read_bytes(), (VENV / "pyvenv.cfg").read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def works(*command: str | Path) -> bool:
    probe = [*command] if len(command) > 1 else [*command, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def last_lines(file: Path) -> str:
    return "\n".join(file.read_text(errors="replace").splitlines()[-15:])


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        sys.exit(
            f"Opsportal needs Python 3.11 or newer; this is {sys.version.split()[0]}. Start it as python3.11 dev.py."
        )
    try:
        sys.exit(main(sys.argv[1:]))
    except Stop as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        sys.exit(130)
