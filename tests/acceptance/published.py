"""Projects that others publish, and what a user of the portal does to register each of them. No package is changed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrations_audit.models import Snapshot
from tests.acceptance import portal as portals
from tests.environments import PROJECTS, Environment

_HISTORY_LINE = re.compile(r"(?P<down>.+?)(?: \((?P<depends>[^)]*)\))? -> (?P<revision>[^\s,]+)")

Edges = dict[str, frozenset[str]]


@dataclass(frozen=True)
class Published:
    """One Alembic chain of a package.

    ``copied`` says what of the package goes where in the registered folder, and ``projects/<name>/folder`` holds what its user
    adds; a package whose folder can be registered as it lies has ``in_place`` instead. ``environment`` is None for one that
    the worker's own Python has. ``settings`` are further fields of the registered project.

    ``revision`` is asked for and leads to ``rows`` in ``steps`` steps; ``back`` is one step down, to ``rows_back``.
    """

    name: str
    environment: Environment | None
    rows: tuple[str, ...]
    steps: int
    rows_back: tuple[str, ...] = ()
    revision: str = "head"
    back: str = "-1"
    copied: Mapping[str, str] = field(default_factory=dict)
    in_place: Path = Path()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def interpreter(self) -> str:
        return str(self.environment.interpreter) if self.environment else sys.executable

    def folder(self, parent: Path) -> Path:
        """The folder to register; a copy is made below ``parent``, once."""
        if self.environment is None:
            return self.in_place
        self.environment.make()
        made = parent / self.name
        if not made.exists():
            own = PROJECTS / self.environment.name / "folder"
            made.mkdir()
            if own.exists():
                shutil.copytree(own, made, dirs_exist_ok=True)
            for source, destination in self.copied.items():
                _copy(self.environment.packages / source, made / destination)
        return made

    def registered(self) -> dict[str, Any]:
        """The fields of the registered project, but its name and folder."""
        name = self.environment.name if self.environment else ""
        return {"interpreter": name, "driver": "postgresql+psycopg2", **self.settings}

    def alembic(self, folder: Path, url: str, *commands: tuple[str, Mapping[str, str]]) -> list[str]:
        """What Alembic's own commands say, run by the project's interpreter beside its configuration."""
        settings = self.registered()
        config = folder / settings.get("config_path", "alembic.ini")
        asked = {
            "config": str(config),
            "section": settings.get("ini_section", "alembic"),
            "variable": settings.get("url_delivery_name", ""),
            "url": url.replace("postgresql", settings["driver"], 1),
            "commands": commands,
        }
        ended = subprocess.run(
            [self.interpreter, "-I", str(PROJECTS / "ask_alembic.py"), json.dumps(asked)],
            cwd=config.parent,
            env={"HOME": str(folder.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        answers: list[str] = json.loads(ended.stdout.splitlines()[-1])
        return answers


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)


def names(said: str) -> set[str]:
    """The revisions that ``alembic heads`` or ``alembic current`` printed."""
    return {line.split()[0] for line in said.splitlines()}


def edges(said: str) -> Edges:
    """The revisions that ``alembic history`` printed, each with those that it comes after or depends on."""
    found: Edges = {}
    for told in filter(None, map(_HISTORY_LINE.match, said.splitlines())):  # a message may go on in the next line
        above = f"{told['down']}, {told['depends'] or ''}".split(", ")
        found[told["revision"]] = frozenset(above) - {"", "<base>"}
    return found


def stored_edges(snapshot: Snapshot) -> Edges:
    """The same of the graph that the portal read."""
    return {
        each["revision"]: frozenset((*each["down_revisions"], *each["depends_on"]))
        for each in snapshot.graph["revisions"]
    }


def ids(pending: Iterable[Mapping[str, str]]) -> set[str]:
    """The revisions of an observation's pending list."""
    return {each["revision"] for each in pending}


OPTUNA = Published(
    name="optuna",
    environment=None,
    in_place=portals.OPTUNA,
    rows=("v3.2.0.a",),
    steps=10,
    rows_back=("v3.0.0.d",),
)
SKYPILOT = Published(
    name="skypilot",
    environment=Environment("skypilot"),
    rows=("024",),
    steps=24,
    rows_back=("023",),
    copied={"sky/setup_files/alembic.ini": "setup_files/alembic.ini", "sky/schemas/db": "schemas/db"},
    settings={
        "config_path": "setup_files/alembic.ini",
        "ini_section": "state_db",
        "version_table": "alembic_version_state_db",
    },
)
_DSTACK_SERVER = "dstack/_internal/server"
DSTACK = Published(
    name="dstack",
    environment=Environment("dstack"),
    rows=("40f19bea9d2a",),
    steps=141,
    rows_back=("652af7a3c9c9",),
    copied={f"{_DSTACK_SERVER}/alembic.ini": "alembic.ini", f"{_DSTACK_SERVER}/migrations": "migrations"},
    settings={
        "driver": "postgresql+asyncpg",
        "url_delivery": "environment",
        "url_delivery_name": "DSTACK_DATABASE_URL",
    },
)
CKAN = Published(
    name="ckan",
    environment=Environment("ckan"),
    rows=("9445ce34fc23",),
    steps=109,
    rows_back=("f7b64c701a10",),
    copied={"ckan/migration": "core"},
    settings={"config_path": "core/alembic.ini"},
)
CKAN_ACTIVITY = Published(
    name="ckan-activity",
    environment=Environment("ckan"),
    rows=("fab3bfdcf830",),
    steps=2,
    rows_back=("71713a055d5c",),
    copied={"ckanext/activity/migration/activity": "activity"},
    settings={"config_path": "activity/alembic.ini", "version_table": "activity_alembic_version"},
)
GNOCCHI = Published(
    name="gnocchi",
    environment=Environment("gnocchi"),
    rows=("f89ed2e3c2ec",),
    steps=31,
    copied={"gnocchi/indexer/alembic": "migrations"},
    settings={"url_delivery": "environment", "url_delivery_name": "OS_INDEXER__URL"},
)
KEYSTONE = Published(
    name="keystone",
    environment=Environment("keystone"),
    revision="heads",
    rows=("742c857f1dfb", "c88cdce8f248"),
    steps=10,
    back="e8725d6fa226",
    copied={"keystone/common/sql/migrations": "migrations"},
)
ENVIRONMENTS = tuple(Environment(name) for name in ("skypilot", "dstack", "ckan", "gnocchi", "keystone"))
