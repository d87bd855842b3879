"""Reading a requirements file: packages pinned to one version and to the hashes of their files, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from migrations_audit.errors import PortalError

MOST: Final = 2_000

_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_PIN: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?P<extras>\[[A-Za-z0-9._, -]*\])?"
    r"\s*==\s*(?P<version>[A-Za-z0-9.!+_-]+)\s*(?P<marker>;[A-Za-z0-9_.<>=!~'\"() ,*+-]+?)?"
    r"(?P<hashes>(?:\s+--hash=sha(?:256|384|512):[0-9a-f]{64,128})+)"
)
_START: Final = re.compile(r"[A-Za-z0-9._\[\], -]+==")


class BuildRefused(PortalError):
    """No interpreter can be built for the project."""

    code = "build_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Pin:
    """One package as it is installed: ``line`` says exactly what uv is told."""

    name: str
    line: str


def read(text: str, *, path: str) -> tuple[Pin, ...]:
    """The pins of a requirements file. Raises BuildRefused with ``requirements_not_pinned``, naming the line.

    Options, URLs, paths and other files are refused: where packages come from is the worker's own setting.
    """
    pins = tuple(_pin(line, number, path) for number, line in _lines(text))
    if len(pins) > MOST:
        raise BuildRefused("requirements_not_pinned", f"{path} names more than {MOST:,} packages.")
    if not any(re.sub(r"[-_.]+", "-", pin.name).lower() == "alembic" for pin in pins):
        raise BuildRefused(
            "requirements_not_pinned", f"{path} does not name alembic, without which nothing can be run."
        )
    return pins


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Whole requirements with the number of their first line; continued lines are joined, comments are gone."""
    begun, held = 0, ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw).rstrip()
        begun = begun if held else number
        held += line.removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        if held.strip():
            yield begun, held.strip()
        held = ""
    if held.strip():
        yield begun, held.strip()


def _pin(line: str, number: int, path: str) -> Pin:
    match = _PIN.fullmatch(line)
    if match is None:
        raise BuildRefused("requirements_not_pinned", f"Line {number} of {path} {_why_not(line)}")
    extras, marker = (re.sub(r"\s+", " ", match[name] or "") for name in ("extras", "marker"))
    hashes = " ".join(sorted(match["hashes"].split()))
    return Pin(match["name"], f"{match['name']}{extras}=={match['version']} {marker} {hashes}".replace("  ", " "))


def _why_not(line: str) -> str:
    if line.startswith("-"):
        return (
            "is an option. Only packages may stand there: name, ==, version and --hash; the worker has its own index."
        )
    if "://" in line or " @ " in line or line.startswith((".", "/")):
        return "names an address or a path. Only packages of the worker's index are installed: name, ==, version and --hash."
    if _START.match(line):
        return "has no --hash=sha256:… Write the file with uv export, or with uv pip compile --generate-hashes."
    return "does not pin one version. Write the file with uv export, or with uv pip compile --generate-hashes."
