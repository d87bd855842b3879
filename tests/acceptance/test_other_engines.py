"""MariaDB and SQLite with their truth told: what a failed run leaves stays, is named, and is not built upon blindly."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pytest

from migrations_audit.actions import leftovers
from migrations_audit.models import AuditEvent, MigrationRun
from tests import mariadb, people
from tests.acceptance.portal import Portal
from tests.conftest import MakeMariadbDatabase
from tests.engine import runnable
from tests.engine.engines import MariadbTarget, SqliteTarget
from tests.waiting import wait_for

THIRD_FAILS = """
op.execute("CREATE TABLE first (id int PRIMARY KEY)")
op.execute("CREATE TABLE second (id int PRIMARY KEY)")
op.execute("CREATE TABLE {} (id int, id int)")
"""
BAD = runnable.Script("r1", THIRD_FAILS.format("third"))


def place_on(portal: Portal, target: MariadbTarget | SqliteTarget, scripts: Sequence[runnable.Script]) -> people.Place:
    is_file = isinstance(target, SqliteTarget)
    url = f"sqlite:///{target.url}" if is_file else target.url
    return portal.place(url, scripts, driver="sqlite" if is_file else "mysql+pymysql")


def changes_of(run: MigrationRun) -> list[str]:
    lines: list[str] = run.evidence.get(check_name="catalog difference").detail
    return lines


@pytest.fixture
def on_mariadb(make_mariadb_database: MakeMariadbDatabase) -> MariadbTarget:
    return MariadbTarget(make_mariadb_database("accepted"))


@pytest.fixture
def on_sqlite(portal: Portal) -> SqliteTarget:
    path = portal.roots.parent / "files" / f"{secrets.token_hex(4)}.db"
    path.touch()
    path.chmod(0o666)
    return SqliteTarget(str(path))


def verify_an_upgrade(portal: Portal, target: MariadbTarget | SqliteTarget, *, engine: str) -> None:
    place = place_on(portal, target, runnable.chain("users", "orders"))

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert target.tables() == {"users", "orders", "alembic_version"}
    assert {line.partition(":")[0] for line in changes_of(run)} >= {"+ table users", "+ table orders"}
    assert run.plan is not None
    assert run.plan.identity["engine"] == engine
    assert not run.plan.is_transactional
    assert "cannot roll back DDL" in run.plan.findings[0]["sentence"]
    assert place.target.label in str(run)


def show_the_truth_of_a_failure(portal: Portal, target: MariadbTarget | SqliteTarget) -> None:
    place = place_on(portal, target, [BAD])

    run = portal.ended(place)

    assert (run.state, run.verdict, run.reason_code) == ("failed", "contradicted", "partly_applied"), run.sentence
    assert "+ table first" in run.sentence
    assert "+ table second" in " ".join(changes_of(run))
    assert "duplicate column" in run.sentence.lower()
    again = portal.planned(place)
    assert (again.state, again.reason_code) == ("plan_failed", "left_partly_applied")
    assert f"run {run.number}" in again.sentence

    leftovers.accept(actor=place.actor("operator"), number=run.number, reason="Compared with the script by hand.")

    accepted = AuditEvent.objects.get(action="run.leftovers_accepted", object_id=str(run.number))
    assert "Compared with the script by hand." in accepted.body
    assert portal.planned(place).state == "awaiting_approval"


def test_an_upgrade_on_mariadb_is_verified(portal: Portal, on_mariadb: MariadbTarget) -> None:
    verify_an_upgrade(portal, on_mariadb, engine="mariadb")


def test_an_upgrade_on_sqlite_is_verified(portal: Portal, on_sqlite: SqliteTarget) -> None:
    verify_an_upgrade(portal, on_sqlite, engine="sqlite")


def test_what_a_failure_leaves_on_mariadb_is_named_and_not_built_upon(
    portal: Portal, on_mariadb: MariadbTarget
) -> None:
    show_the_truth_of_a_failure(portal, on_mariadb)


def test_what_a_failure_leaves_on_sqlite_is_named_and_not_built_upon(portal: Portal, on_sqlite: SqliteTarget) -> None:
    show_the_truth_of_a_failure(portal, on_sqlite)


def test_a_repair_by_hand_opens_the_target_again(portal: Portal, on_mariadb: MariadbTarget) -> None:
    place = place_on(portal, on_mariadb, [BAD])
    assert portal.ended(place).reason_code == "partly_applied"
    for table in ("first", "second"):
        on_mariadb.execute(f"DROP TABLE {table}")

    assert portal.planned(place).state == "awaiting_approval"


def test_a_worker_killed_in_a_long_statement_on_mariadb_leads_to_the_truth(
    portal: Portal, on_mariadb: MariadbTarget, mariadb_server: mariadb.Mariadb
) -> None:
    long = 'op.execute("CREATE TABLE before_sleep (id int)")\nop.execute("CREATE TABLE late AS SELECT SLEEP(40) AS a")'
    place = place_on(portal, on_mariadb, [runnable.Script("r1", long)])
    run = portal.started(place)
    working = f"SELECT id FROM information_schema.processlist WHERE user = '{on_mariadb.parsed.user}' AND state = 'User sleep'"
    wait_for(lambda: mariadb_server.execute(working), within=30, what="the revision to sleep")

    portal.workers.kill(portal.workers.processes[-1])
    assert mariadb_server.execute(working), "the server works on for nobody"
    portal.workers.start()

    ended = portal.until(run.number, "failed", within=60)
    assert (ended.reason_code, ended.verdict) == ("partly_applied", "contradicted"), ended.sentence
    assert "+ table before_sleep" in ended.sentence
    assert not mariadb_server.execute(working)
    # Whether the killed statement leaves its table is the server's affair. What is told is what is there.
    told = {line.partition(":")[0] for line in changes_of(ended)}
    assert {line for line in told if line.startswith("+ table ")} == {f"+ table {name}" for name in on_mariadb.tables()}


def test_a_worker_killed_in_a_long_statement_on_sqlite_leads_to_the_truth(
    portal: Portal, on_sqlite: SqliteTarget
) -> None:
    count = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000000) INSERT INTO t SELECT x FROM c"
    long = f'op.execute("CREATE TABLE t (x int)")\nop.execute("{count}")'
    place = place_on(portal, on_sqlite, [runnable.Script("r1", long)])
    run = portal.started(place)
    wait_for(lambda: run.log.filter(text__contains="Executing since").exists(), within=30, what="the revision to work")

    portal.workers.kill(portal.workers.processes[-1])
    portal.workers.start()

    ended = portal.until(run.number, "failed", within=60)
    assert (ended.reason_code, ended.verdict) == ("partly_applied", "contradicted"), ended.sentence
    assert "+ table t" in ended.sentence
    assert on_sqlite.rows("SELECT count(*) FROM t") == [(0,)]


def test_a_project_that_connects_elsewhere_on_mariadb_is_refused(
    portal: Portal, on_mariadb: MariadbTarget, make_mariadb_database: MakeMariadbDatabase
) -> None:
    other = MariadbTarget(make_mariadb_database("elsewhere"))
    env = runnable.env_with(repr(other.url))
    place = portal.place(on_mariadb.url, runnable.chain("users"), env=env, driver="mysql+pymysql")

    run = portal.ended(place)

    assert (run.state, run.reason_code) == ("refused", "wrong_target")
    assert other.tables() == on_mariadb.tables() == set()


def test_a_file_that_was_replaced_is_refused(portal: Portal, on_sqlite: SqliteTarget) -> None:
    place = place_on(portal, on_sqlite, runnable.chain("users"))
    portal.planned(place)
    replacement = SqliteTarget(f"{on_sqlite.url}.new")
    replacement.execute("CREATE TABLE mine (id int)")
    (portal.roots.parent / "files" / replacement.url).replace(on_sqlite.url)

    run = portal.planned(place, revision="r1")

    assert (run.state, run.reason_code) == ("plan_failed", "wrong_database")
    assert on_sqlite.tables() == {"mine"}


def test_the_password_of_a_mariadb_target_is_nowhere(portal: Portal, on_mariadb: MariadbTarget) -> None:
    password = on_mariadb.parsed.password
    place = place_on(
        portal, on_mariadb, [runnable.Script("r1", f'print("{password}")\nraise ValueError("{password}")')]
    )

    run = portal.ended(place)

    told = [run.sentence, *run.log.values_list("text", flat=True), *AuditEvent.objects.values_list("body", flat=True)]
    assert run.state == "failed"
    assert password not in "\n".join(told) + portal.workers.said()


def test_a_wrong_driver_is_told_before_anything_is_run(portal: Portal, on_mariadb: MariadbTarget) -> None:
    place = portal.place(on_mariadb.url, runnable.chain("users"))

    run = portal.planned(place)

    assert (run.state, run.reason_code) == ("plan_failed", "invalid_url")
    assert "mysql+pymysql" in run.sentence
