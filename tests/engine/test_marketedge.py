"""The demo's Alembic project: every way between two revisions, on PostgreSQL, with Alembic's own command line."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

import opsportal.demo
from migrations_audit.engine import graph, resolve, snapshot, standing, types
from migrations_audit.states import Operation, TargetStatus

MARKETEDGE = Path(opsportal.demo.__file__).parent / "marketedge"
REVISIONS = ("001", "002", "003", "004", "005", "80105006e3d3")

COMMANDS = """
import sys
from alembic.config import main
for line in sys.stdin:
    main(line.split())
    print("ran", flush=True)
"""

CATALOG = """
SELECT format('column %s %s %s %s', c.relname, rank() OVER (PARTITION BY c.oid ORDER BY attnum), attname,
              concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid)))
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT format('relation %s %s %s %s', relkind, relname, relrowsecurity, relforcerowsecurity)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT format('constraint %s %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT format('index %s %s', pg_get_indexdef(indexrelid), indisvalid)
  FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT format('type %s %s', typname,
              ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder))
  FROM pg_type t WHERE typnamespace = 'public'::regnamespace
UNION ALL SELECT format('function %s', pg_get_functiondef(oid)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT format('policy %s', p) FROM pg_policies p WHERE schemaname = 'public'
UNION ALL SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MARKETEDGE, tmp_path / "marketedge"))


@pytest.fixture
def url(make_target_database: Callable[..., str]) -> str:
    return make_target_database("marketedge")


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"}


def alembic(project: Path, *arguments: str, url: str = "") -> str:
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=project, env=environment(url), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def commands(project: Path, url: str) -> Iterator[Callable[[str], None]]:
    """Alembic's command line kept open in one process, because a new process for each of fifty commands takes a minute."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS], cwd=project, env=environment(url), text=True, bufsize=1,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip

        def run(line: str) -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(line + "\n")
            assert child.stdout.readline() == "ran\n", line

        yield run


def catalog(url: str) -> frozenset[str]:
    with psycopg.connect(url) as connection:
        lines = [row[0] for row in connection.execute(CATALOG)]
    return frozenset(line for line in lines if "alembic_version" not in line)


def rows(url: str) -> tuple[str, ...]:
    with psycopg.connect(url) as connection:
        return tuple(row[0] for row in connection.execute("SELECT version_num FROM alembic_version"))


@pytest.fixture(scope="module")
def demo_graph() -> types.Graph:
    frozen = snapshot.freeze(MARKETEDGE, config_path="alembic.ini", ini_section="alembic")
    return graph.read(snapshot.files(frozen.archive), config_path="alembic.ini", ini_section="alembic")


def test_the_graph_is_one_chain_without_problems(demo_graph: types.Graph) -> None:
    assert [item.revision for item in demo_graph.revisions] == list(REVISIONS)
    assert demo_graph.heads == ("80105006e3d3",)
    assert demo_graph.problems == ()
    assert all(item.transactional and item.has_downgrade for item in demo_graph.revisions)


def test_the_incident_reads_as_behind_by_four(demo_graph: types.Graph) -> None:
    found = standing.standing(demo_graph, ("002",))

    assert found.status is TargetStatus.BEHIND
    assert found.sentence == "behind: 4 revisions pending, first 003"


def test_every_way_between_two_revisions_leads_to_the_same_catalog(url: str, commands: Callable[[str], None]) -> None:
    places = ("base", *REVISIONS)
    expected = {"base": catalog(url)}
    for name in REVISIONS:
        commands(f"upgrade {name}")
        expected[name] = catalog(url)
        assert rows(url) == (name,)
    assert len(set(expected.values())) == len(places)
    commands("downgrade base")

    for low in places:
        for high in places[places.index(low) + 1 :]:
            commands(f"upgrade {high}")
            assert catalog(url) == expected[high], (low, high)
            commands(f"downgrade {low}")
            assert catalog(url) == expected[low], (high, low)
        if low != places[-1]:
            commands("upgrade +1")


def test_our_resolution_is_what_alembic_does(
    url: str, commands: Callable[[str], None], demo_graph: types.Graph
) -> None:
    for low, high in itertools.pairwise(("002", "80105006e3d3")):
        commands(f"upgrade {low}")
        up = resolve.resolve(demo_graph, operation=Operation.UPGRADE, requested="head", current=rows(url))
        commands(f"upgrade {resolve.argument(up)}")
        assert rows(url) == up.result == (high,)

        down = resolve.resolve(demo_graph, operation=Operation.ROLLBACK, requested="-4", current=rows(url))
        commands(f"downgrade {resolve.argument(down)}")
        assert rows(url) == down.result == (low,)


def test_the_offline_sql_needs_no_database_and_gives_the_same_catalog(
    project: Path, url: str, make_target_database: Callable[..., str]
) -> None:
    sql = alembic(project, "upgrade", "head", "--sql")
    other = make_target_database("offline")
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute(sql.encode())

    alembic(project, "upgrade", "head", url=url)

    assert catalog(other) == catalog(url)
    assert rows(other) == rows(url) == ("80105006e3d3",)


def test_revision_003_creates_the_table_of_the_incident(project: Path, url: str) -> None:
    alembic(project, "upgrade", "003", url=url)

    with psycopg.connect(url) as connection:
        columns: dict[str, str] = dict(
            connection.execute(
                "SELECT column_name, concat_ws(' ', data_type, character_maximum_length, is_nullable)"
                " FROM information_schema.columns WHERE table_name = 'analytics_modules'"
            ).fetchall()
        )
    assert columns["id"] == columns["name"] == "character varying 255 NO"
    assert columns["description"] == "text NO"
    assert len(columns) > 22


def test_existing_rows_survive_the_way_up_and_down(url: str, commands: Callable[[str], None]) -> None:
    commands("upgrade 002")
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO organisations (name, slug) VALUES ('Zebra Cinemas', 'zebra-cinemas')")

    commands("upgrade head")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name, level::text FROM hierarchy_nodes").fetchall() == [
            ("Zebra Cinemas", "organisation")
        ]

    commands("downgrade 002")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT slug FROM organisations").fetchall() == [("zebra-cinemas",)]


def test_an_organisation_sees_its_own_rows_only(url: str, commands: Callable[[str], None]) -> None:
    commands("upgrade head")
    with psycopg.connect(url) as connection:
        for name in ("one", "two"):
            connection.execute(
                "WITH o AS (INSERT INTO organisations (name, slug) VALUES (%s, %s) RETURNING id)"
                " INSERT INTO markets (organisation_id, name) SELECT id, %s FROM o",
                (name, name, name),
            )
        connection.execute("GRANT SELECT ON markets TO pg_monitor")
        connection.execute("SET LOCAL ROLE pg_monitor")
        assert connection.execute("SELECT count(*) FROM markets").fetchone() == (0,)
        connection.execute("RESET ROLE")
        connection.execute(
            "SELECT set_config('app.organisation_id', (SELECT id::text FROM organisations WHERE slug = 'one'), true)"
        )
        connection.execute("SET LOCAL ROLE pg_monitor")
        assert connection.execute("SELECT name FROM markets").fetchall() == [("one",)]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_url_is_used_as_given_with_either_driver(project: Path, url: str, driver: str) -> None:
    alembic(project, "upgrade", "head", url=url.replace("postgresql://", f"postgresql+{driver}://"))

    assert rows(url) == ("80105006e3d3",)


def test_no_url_is_an_error_and_not_a_guess(project: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        alembic(project, "current")

    assert "DATABASE_URL is not set" in caught.value.stderr
