"""Who is left out for having written what a plan executes: its revisions, and what these share since a run was verified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import attempts, evidence, plans, runs
from migrations_audit.engine import graph, resolve, snapshot
from migrations_audit.engine.git_authors import Author, History
from migrations_audit.execution import authorship, places
from migrations_audit.models import MigrationRun, Snapshot
from migrations_audit.states import Operation
from tests import people
from tests.engine import projects
from tests.engine.projects import Spec

pytestmark = pytest.mark.django_db

STEP, ENV, HELPER, BESIDE = "migrations/versions/003.py", "migrations/env.py", "shop/money.py", "migrations/naming.py"
IMPORTS = "from shop.money import cents\n\n\ndef upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"
FILES = projects.files(
    [Spec("003", body=IMPORTS)],
    more={
        ENV: projects.ENV + b"from migrations import naming\nfrom shop.models import Base\n",
        HELPER: b"cents = 100\n",
        BESIDE: b"",
        "shop/models.py": b"Base = object\n",
    },
)
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def place() -> people.Place:
    return people.make_place(rehearsal="on_request")


def history(**wrote: str) -> History:
    """By author the file; whoever's name begins with ``old`` wrote it in the commit that was verified, the others after it."""
    authors: dict[str, list[Author]] = {}
    for name, path in wrote.items():
        commit = OLD if name.startswith("old") else NEW
        authors.setdefault(path, []).append(Author(commit, name, f"{name}@bank.example", path))
    return History(authors, {NEW: [OLD], OLD: []})


def left_out(place: people.Place, told: History, *, of_git: bool = True) -> tuple[set[str], list[str]]:
    """The names of those who cannot approve, and the sentences about files whose authors nobody knows."""
    return _of_files(place, FILES, told, of_git=of_git)


def _of_files(
    place: people.Place, files: Mapping[str, bytes], told: History, *, of_git: bool
) -> tuple[set[str], list[str]]:
    read = graph.read(files, config_path="alembic.ini", ini_section="alembic")
    stored = Snapshot(project=place.project, archive=snapshot._pack(files))
    scripts = places.Scripts(stored, read, commit={"id": NEW, "ref": "main"} if of_git else {}, history=told)
    resolution = resolve.resolve(read, operation=Operation.UPGRADE, requested="head", current=())
    found = authorship.of_plan(MigrationRun(target=place.target), scripts, resolution)
    return {each.author for each in found.authors}, [each.sentence for each in found.findings]


def verified(place: people.Place, **changed: bytes | None) -> None:
    """A run that was verified at the old commit, when these files held something else."""
    then = {path: content for path, content in FILES.items() if path != STEP}
    then |= {globals()[name]: content or b"other" for name, content in changed.items()}
    kept = evidence.keep_snapshot(
        actor=people.WORKER,
        project=place.project,
        digest=hashchain.digest("then"),
        archive=b"archive",
        files=[
            {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": 1} for path, content in then.items()
        ],
        graph={"heads": ["003"], "revisions": [], "problems": []},
        commit={"id": OLD, "author": "Tip", "email": "tip@bank.example", "ref": "main"},
    )
    run = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=run.number)
    draft = people.make_draft(place, snapshot=kept)
    plan = plans.record(actor=people.WORKER, number=run.number, epoch=begun.epoch, draft=draft)
    people.approve_by_all(place, run.number, plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=plan.digest, confirm=place.target.label)
    ended = people.finish(place, attempts.claim(actor=people.WORKER, number=run.number))
    assert ended.verdict == "verified"


def test_whoever_wrote_a_step_is_left_out(place: people.Place) -> None:
    assert left_out(place, history(old=STEP, new=STEP)) == ({"old", "new"}, [])


@pytest.mark.parametrize(
    ("of_git", "because"),
    [
        (False, "come from a folder, which has no commits"),
        (True, "none of the last 100 commits of main that could be read"),
    ],
)
def test_a_step_of_which_no_author_is_known_is_told_with_the_reason(
    place: people.Place, of_git: bool, because: str
) -> None:
    names, (sentence,) = left_out(place, History(), of_git=of_git)

    assert names == set()
    assert sentence.startswith(f"Nobody is known to have written {STEP} (file ")
    assert because in sentence
    assert sentence.endswith("Whoever did can approve this plan.")


@pytest.mark.parametrize(("name", "path"), [("ENV", ENV), ("HELPER", HELPER), ("BESIDE", BESIDE)])
def test_whoever_changed_what_the_steps_share_since_a_verified_run_is_left_out(
    place: people.Place, name: str, path: str
) -> None:
    verified(place, **{name: None})

    assert left_out(place, history(new=STEP, old_one=path, changer=path)) == ({"new", "changer"}, [])


def test_what_is_as_it_was_when_a_run_was_verified_leaves_nobody_out(place: people.Place) -> None:
    verified(place)

    assert left_out(place, history(new=STEP, changer=ENV, other=HELPER)) == ({"new"}, [])


def test_the_models_that_env_imports_leave_nobody_out(place: people.Place) -> None:
    verified(place, ENV=None)

    assert left_out(place, history(new=STEP, env=ENV, modeller="shop/models.py"))[0] == {"new", "env"}


def test_before_a_run_was_verified_what_the_steps_share_leaves_nobody_out(place: people.Place) -> None:
    assert left_out(place, history(new=STEP, changer=ENV)) == ({"new"}, [])


def test_a_shared_file_that_no_fetched_commit_changed_since_is_told(place: people.Place) -> None:
    verified(place, ENV=None)

    names, (sentence,) = left_out(place, history(new=STEP, old_one=ENV))

    assert names == {"new"}
    assert sentence.startswith(f"Nobody is known to have changed {ENV} (file ")
    assert "since a run was last verified here" in sentence


def test_an_unknown_author_of_a_file_that_was_edited_again_is_another_finding(place: people.Place) -> None:
    edited = {**FILES, STEP: FILES[STEP] + b"# edited\n"}

    before = left_out(place, History(), of_git=False)[1]
    after = _of_files(place, edited, History(), of_git=False)[1]

    assert before != after
