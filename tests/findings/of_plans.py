"""The rules about a plan and its target: a project with a reading of its target that breaks one, and one that does not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from migrations_audit import hashchain
from migrations_audit.actions import attempts, plans, runs
from migrations_audit.engine import catalog, graph, process, resolve, snapshot, types
from migrations_audit.engine.git_authors import Author, History
from migrations_audit.execution import authorship, finding
from migrations_audit.execution.observing import Look
from migrations_audit.execution.places import Scripts
from migrations_audit.models import MigrationRun, Snapshot, Target
from migrations_audit.states import Engine, Operation, TargetStatus
from tests import people
from tests.engine import projects
from tests.engine.projects import Spec
from tests.findings.cases import Part

HERE: Final = {"table public.users": "table"}
ELSEWHERE: Final = {"table public.orders": "table"}
BLOCK: Final = (
    "def upgrade():\n    with op.get_context().autocommit_block():\n        pass\n\n\ndef downgrade():\n    pass\n"
)
PLAIN_INI: Final = projects.INI + b"sqlalchemy.url = postgresql://app:hunter22@db.example/shop\n"
TEMPLATE_INI: Final = projects.INI + b"sqlalchemy.url = driver://user:pass@localhost/dbname\n"


@dataclass(frozen=True)
class Planned:
    """What a plan was made of. ``elsewhere`` is the catalog of another target at the same revision, ``executed`` the digest of
    the file of 003 that a verified run executed; where they are empty there is none. ``wrote``: whether the authors are known."""

    files: dict[str, bytes] = field(default_factory=lambda: projects.files(projects.chain("003")))
    operation: Operation = Operation.UPGRADE
    engine: Engine = Engine.POSTGRESQL
    status: TargetStatus = TargetStatus.BEHIND
    sql: str = "CREATE TYPE mood AS ENUM ('ok');"
    elsewhere: dict[str, str] = field(default_factory=dict)
    executed: str = ""
    wrote: bool = True


def found(given: Planned, folder: Path) -> set[str]:
    place = people.make_place(rehearsal="on_request")
    if given.executed:
        verified(place, given.executed)
    if given.elsewhere:
        observed_elsewhere(place, given.elsewhere)
    projects.write(folder, given.files)
    frozen = snapshot.freeze(folder, config_path="alembic.ini", ini_section="alembic")
    read = graph.read(given.files, config_path="alembic.ini", ini_section="alembic")
    paths = [each.path for each in read.revisions] if given.wrote else []
    history = History({path: [Author("a" * 40, "Ada", "ada@bank.example", path)] for path in paths})
    kept = Snapshot(project=place.project, archive=frozen.archive)
    scripts = Scripts(snapshot=kept, graph=read, commit={"ref": "main"}, history=history)
    reading = types.Reading(
        identity=replace(types.Identity.from_dict(people.IDENTITY), engine=given.engine.value),
        revisions=None,
        catalog=types.Catalog(fingerprint=hashchain.digest(str(HERE)), body=HERE),
        pooled=False,
        duration_ms=1,
    )
    look = Look(observation=people.observe(place, status=given.status), url=None, reading=reading, scripts=scripts)
    resolution = resolve.resolve(read, operation=given.operation, requested="head", current=())
    offline = process.OfflineResult(given.sql or None, "" if given.sql else "It reads the database.")
    run = MigrationRun(target=place.target)
    told = finding.of_plan(run, look, resolution, offline, authorship.of_plan(run, scripts, resolution))
    return {each["code"] for each in told}


def verified(place: people.Place, sha256: str) -> None:
    """A run that has applied 003 from a file with this digest."""
    run = people.make_run(place)
    begun = plans.begin(actor=people.WORKER, number=run.number)
    draft = people.make_draft(place)
    draft = replace(draft, steps=[{**step, "sha256": sha256} for step in draft.steps])
    plan = plans.record(actor=people.WORKER, number=run.number, epoch=begun.epoch, draft=draft)
    people.approve_by_all(place, run.number, plan.digest)
    runs.start(actor=place.actor("operator"), number=run.number, digest=plan.digest, confirm=place.target.label)
    claimed = attempts.claim(actor=people.WORKER, number=run.number)
    assert people.finish(place, claimed).verdict == "verified"


def observed_elsewhere(place: people.Place, body: dict[str, str]) -> None:
    """Another target of the project that was read at 003 with this catalog."""
    other = Target.objects.create(
        project=place.project, environment=place.environment, slug="other", url_reference="env:OTHER"
    )
    people.observe(
        people.Place(place.environment, place.project, other),
        revisions=["003"],
        catalog=(hashchain.digest(str(body)), body),
        facts={"kinds": catalog.KINDS},
    )


def adopted(elsewhere: dict[str, str] | None = None) -> Planned:
    return Planned(operation=Operation.ADOPT, elsewhere=elsewhere or {})


OTHER_FILE: Final = hashchain.digest("another file")
SAME_FILE: Final = hashchain.digest(Spec("003").content().decode())

OF_PLANS: Final = Part(
    "plans",
    found,
    [
        ("lint_could_not_run", Planned(sql="")),
        ("lint_other_engine", Planned(engine=Engine.MARIADB)),
        ("lint_other_engine", Planned(engine=Engine.SQLITE)),
        ("ddl_not_rolled_back", Planned(engine=Engine.MARIADB)),
        ("not_transactional", Planned(projects.files([Spec("003", body=BLOCK)]))),
        ("regressed", Planned(status=TargetStatus.REGRESSED)),
        ("tables_missing", Planned(status=TargetStatus.TABLES_MISSING)),
        ("adopts", adopted()),
        ("adopts_unseen", adopted()),
        ("adopts_same", adopted(HERE)),
        ("adopts_different", adopted(ELSEWHERE)),
        ("edited_after_applied", Planned(executed=OTHER_FILE)),
        ("plain_secret", Planned(projects.files(projects.chain("003"), ini=PLAIN_INI))),
        ("author_unknown", Planned(wrote=False)),
    ],
    [
        ("lint_could_not_run", Planned()),
        ("lint_could_not_run", adopted()),
        ("lint_other_engine", Planned()),
        ("ddl_not_rolled_back", Planned()),
        ("not_transactional", Planned()),
        ("regressed", Planned()),
        ("tables_missing", Planned(status=TargetStatus.NOT_INITIALISED)),
        ("adopts", Planned()),
        ("adopts_unseen", adopted(HERE)),
        ("adopts_same", adopted(ELSEWHERE)),
        ("adopts_different", adopted(HERE)),
        ("edited_after_applied", Planned(executed=SAME_FILE)),
        ("plain_secret", Planned(projects.files(projects.chain("003"), ini=TEMPLATE_INI))),
        ("author_unknown", Planned()),
        ("author_unknown", Planned(operation=Operation.ADOPT, wrote=False)),
    ],
    needs_database=True,
)
