"""Each part of what was approved, changed alone after the approval, makes the run void before anything is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from migrations_audit.actions import runs
from migrations_audit.models import MigrationRun, Target
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.reliability import truth

COLUMNS = """
from pathlib import Path

columns = Path("{path}").read_text().strip()
op.execute(f"CREATE TABLE orders ({{columns}})")
"""


@pytest.fixture(scope="module", autouse=True)
def outside() -> Iterator[Path]:
    """A folder outside any project that scripts may read, as packages of the interpreter are. Before the portal's worker."""
    with tempfile.TemporaryDirectory(prefix="opsportal-outside-") as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o755)
        patch.setenv("PORTAL_RUNNER_PATHS", folder)
        yield Path(folder)


@dataclass
class Scene:
    """An approved run of ``CREATE TABLE orders`` with all that somebody may change before its start."""

    place: people.Place
    url: str
    reference: Path
    columns: Path
    run: MigrationRun = field(init=False)

    def on_target(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def lead_to(self, *, user: str = "migrator_of_digest", password: str = "first", query: str = "") -> None:
        """Have the reference lead to the same database, in another way."""
        parts = urlsplit(self.url)
        place = parts.netloc.rpartition("@")[2]
        self.reference.write_text(f"{parts.scheme}://{user}:{password}@{place}{parts.path}{query}")

    def started(self) -> MigrationRun:
        assert self.run.plan is not None, self.run.sentence
        operator, label = self.place.actor("operator"), self.run.target.label
        return runs.start(actor=operator, number=self.run.number, digest=self.run.plan.digest, confirm=label)


@pytest.fixture
def scene(portal: Portal, make_target_database: MakeTargetDatabase, outside: Path, tmp_path: Path) -> Scene:
    url = make_target_database("digest")
    columns, reference = outside / "columns", tmp_path / "url"
    columns.write_text("id int PRIMARY KEY\n")
    place = portal.place(url, [runnable.Script("r1", COLUMNS.format(path=columns))])
    Target.objects.filter(pk=place.target.pk).update(url_reference=f"file:{reference}")
    scene = Scene(place, url, reference, columns)
    scene.on_target(
        "DROP ROLE IF EXISTS migrator_of_digest",
        "CREATE ROLE migrator_of_digest LOGIN SUPERUSER PASSWORD 'first'",
    )
    scene.lead_to()
    scene.run = portal.planned(place)
    assert scene.run.plan is not None, scene.run.sentence
    assert "CREATE TABLE orders (id int PRIMARY KEY)" in scene.run.plan.sql
    people.approve_by_all(place, scene.run.number, scene.run.plan.digest)
    return scene


def a_script(scene: Scene) -> None:
    script = Path(scene.place.project.folder) / "migrations/versions/r1.py"
    script.write_text(script.read_text() + 'password = "correct horse"\n# one more line\n')


def the_sql(scene: Scene) -> None:
    scene.columns.write_text("id int PRIMARY KEY, total int\n")


def the_user(scene: Scene) -> None:
    scene.on_target("DROP ROLE IF EXISTS somebody_else", "CREATE ROLE somebody_else LOGIN SUPERUSER PASSWORD 'x'")
    scene.lead_to(user="somebody_else", password="x")


def the_rows(scene: Scene) -> None:
    scene.on_target("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    scene.on_target("INSERT INTO alembic_version VALUES ('r1')")


def the_catalog(scene: Scene) -> None:
    scene.on_target("CREATE TABLE by_hand (id int)")


def the_connection(scene: Scene) -> None:
    scene.lead_to(query="?sslmode=disable&connect_timeout=7")


@pytest.mark.parametrize(
    ("change", "code", "part", "lines"),
    [
        (a_script, "scripts_changed", "the script files", ["+# one more line", '+password = "•••"']),
        (
            the_sql,
            "sql_changed",
            "the SQL",
            ["-CREATE TABLE orders (id int PRIMARY KEY);", "+CREATE TABLE orders (id int PRIMARY KEY, total int);"],
        ),
        (the_user, "identity_changed", "the identity of the database", ["+ user of the URL: somebody_else"]),
        (the_rows, "start_changed", "the starting state", ["+ r1", "+ table public.alembic_version"]),
        (the_catalog, "catalog_changed", "the starting state", ["+ table public.by_hand"]),
        (the_connection, "connection_changed", "the parameters of the target's URL", ["+ sslmode: disable"]),
    ],
)
def test_each_part_alone_voids_the_run_and_the_page_shows_the_difference(
    portal: Portal, scene: Scene, change: Callable[[Scene], None], code: str, part: str, lines: list[str]
) -> None:
    change(scene)
    before = truth.tables(scene.url)

    run = portal.until(scene.started().number, "void", "applied", "failed", "refused", "error")

    assert (run.state, run.reason_code) == ("void", code), run.sentence
    assert truth.tables(scene.url) == before
    assert not run.log.filter(stream="statement").exists()
    (evidence,) = run.evidence.all()
    assert (evidence.check_name, evidence.outcome) == (part, "failed")
    client = Client()
    client.force_login(scene.place.people["viewer"])
    shown = client.get(reverse("web:run", args=[run.number])).content.decode()
    assert escape(part) in shown
    for line in lines:
        assert any(each.startswith(line) for each in evidence.detail), evidence.detail
        assert f'<span class="sign">{line[0].replace("-", "−")}</span>{escape(line[1:])}' in shown
    assert "correct horse" not in shown


def test_a_password_that_was_changed_meanwhile_voids_nothing(portal: Portal, scene: Scene) -> None:
    scene.on_target("ALTER ROLE migrator_of_digest PASSWORD 'rotated'")
    scene.lead_to(password="rotated")

    run = portal.until(scene.started().number, "void", "applied", "failed", "refused", "error")

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence


def test_sql_that_is_another_at_each_making_is_not_compared(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """A value made while the script runs is in nobody's SQL twice."""
    url = make_target_database("random")
    up = """
    import uuid
    op.execute("CREATE TABLE users (id text)")
    op.execute(f"INSERT INTO users VALUES ('{uuid.uuid4()}')")
    """
    run = portal.ended(portal.place(url, [runnable.Script("r1", up)]))

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.log.filter(text__contains="is another each time it is made").exists()
