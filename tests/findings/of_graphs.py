"""The rules about the graph and the configuration: a project that breaks one, and one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from migrations_audit.engine import graph
from tests.engine import projects
from tests.engine.projects import Spec
from tests.findings.cases import Part

Files = dict[str, bytes]

SIDE_BY_SIDE: Final = [Spec("a1"), Spec("b1", ("a1",)), Spec("c1", ("a1",))]
COMPUTED: Final = b"import app\n" + Spec("a1").content().replace(
    b"branch_labels = None", b"branch_labels = (app.NAME,)"
)
TWO_FOLDERS: Final = b"[alembic]\nscript_location = migrations\nversion_locations = migrations/versions one\n"
ONE_FOLDER: Final = TWO_FOLDERS.replace(b" one", b"")
CHOOSES: Final = {"migrations/env.py": projects.ENV + b"context.script.version_locations = [folder]\n"}


def only(*specs: Spec) -> Files:
    return projects.files(specs)


def found(files: Files, _: Path) -> set[str]:
    read = graph.read(files, config_path="alembic.ini", ini_section="alembic")
    return {problem.code for problem in read.problems if not problem.fatal}


OF_GRAPHS: Final = Part(
    "graphs",
    found,
    [
        ("several_heads", only(*SIDE_BY_SIDE)),
        ("long_revision", only(Spec("a" * 33))),
        ("label_unusable", only(Spec("a1", labels=("a b",)))),
        ("labels_not_literal", projects.files([], more={"migrations/versions/a1.py": COMPUTED})),
        ("folder_missing", projects.files(projects.chain("a1"), ini=TWO_FOLDERS)),
        ("sourceless", projects.files(projects.chain("a1"), ini=projects.INI + b"sourceless = true\n")),
        ("env_chooses_folders", projects.files(projects.chain("a1"), ini=ONE_FOLDER, more=CHOOSES)),
    ],
    [
        ("several_heads", only(*SIDE_BY_SIDE, Spec("d1", ("b1", "c1")))),
        ("long_revision", only(Spec("a" * 32))),
        ("label_unusable", only(Spec("a1", labels=("a-b",)))),
        ("labels_not_literal", only(Spec("a1", labels=("name",)))),
        (
            "folder_missing",
            projects.files(projects.chain("a1"), ini=TWO_FOLDERS, more={"one/b1.py": Spec("b1", ("a1",)).content()}),
        ),
        ("sourceless", projects.files(projects.chain("a1"), ini=projects.INI + b"sourceless = false\n")),
        ("env_chooses_folders", projects.files(projects.chain("a1"), ini=ONE_FOLDER)),
    ],
)
