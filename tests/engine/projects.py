"""Writes small Alembic projects, and runs Alembic's own commands on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy
from alembic import command, config
from alembic.script import ScriptDirectory

from migrations_audit.engine import graph, types
from migrations_audit.states import Operation

INI = b"[alembic]\nscript_location = migrations\npath_separator = os\n"
ENV = b"""
from alembic import context

attributes = context.config.attributes


def note(*, step, **_):
    attributes["passed"].append(step.up_revision_id)


context.configure(connection=attributes["connection"], on_version_apply=note)
with context.begin_transaction():
    context.run_migrations()
"""


@dataclass(frozen=True)
class Spec:
    """The header of one revision."""

    name: str
    down: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    body: str = "def upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"

    def content(self) -> bytes:
        return (
            f'"""Revision {self.name}"""\n\nrevision = {self.name!r}\ndown_revision = {self.down or None!r}\n'
            f"branch_labels = {self.labels or None!r}\ndepends_on = {self.depends or None!r}\n\n\n{self.body}"
        ).encode()


def files(specs: Iterable[Spec], *, ini: bytes = INI, more: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """A project with these revisions as ``snapshot.files`` would give it."""
    versions = {f"migrations/versions/{spec.name}.py": spec.content() for spec in specs}
    return {"alembic.ini": ini, "migrations/env.py": ENV, **versions, **(more or {})}


def chain(*names: str) -> list[Spec]:
    return [Spec(name, (before,) if before else ()) for before, name in zip(("", *names), names, strict=False)]


def read(specs: Iterable[Spec]) -> types.Graph:
    return graph.read(files(specs), config_path="alembic.ini", ini_section="alembic")


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@dataclass
class RealAlembic:
    """Alembic itself on a written project and a database in memory."""

    folder: Path
    passed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)

    def configuration(self) -> config.Config:
        made = config.Config(str(self.folder / "alembic.ini"))
        made.set_main_option("script_location", str(self.folder / "migrations"))
        return made

    def scripts(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self.configuration())

    def run(self, operation: Operation, argument: str) -> list[str]:
        """Run the command; the revisions it passed, in order. A failure rolls back, as on PostgreSQL."""
        made, passed = self.configuration(), list[str]()
        with self.engine.begin() as connection:
            made.attributes.update(connection=connection, passed=passed)
            (command.upgrade if operation is Operation.UPGRADE else command.downgrade)(made, argument)
        return passed

    def rows(self) -> tuple[str, ...]:
        with self.engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return ()
            return tuple(sorted(connection.scalars(sqlalchemy.text("SELECT version_num FROM alembic_version"))))

    def close(self) -> None:
        self.engine.dispose()
