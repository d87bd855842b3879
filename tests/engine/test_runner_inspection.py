"""A rehearsal looks into the migrating session: the same with every driver, and what Alembic does stays what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrations_audit.engine import catalog, session, urls
from migrations_audit.engine.rehearsing import grading, inspection
from migrations_audit.engine.rehearsing.inspection import Follower
from migrations_audit.engine.rehearsing.types import Pass
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Outcome, Target

ENVIRONMENTS = {"psycopg": runnable.ONLINE_ENV, "psycopg2": runnable.ONLINE_ENV, "asyncpg": runnable.ASYNC_ENV}
QUESTIONS = {name: dict(questions) for name, questions in inspection.QUESTIONS.items()}

SCRIPTS = [
    runnable.Script("r1", 'op.execute("CREATE TABLE made (id int)")\nop.execute("SELECT * FROM big")'),
    runnable.Script(
        "r2",
        'op.execute("CREATE INDEX big_note ON big (note)")\n'
        'op.execute("ALTER TABLE big ALTER COLUMN id TYPE bigint")\n'
        "op.execute(\"ALTER TABLE big ADD CONSTRAINT pw CHECK (note <> 'password=hunter22')\")\n"
        'op.execute("TRUNCATE gone")\nop.execute("DROP TABLE gone")',
        "r1",
    ),
]


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    made = Target(make_target_database("inspected"))
    made.execute("CREATE TABLE big (id int PRIMARY KEY, note text)")
    made.execute("CREATE TABLE gone (id int)")
    made.execute("INSERT INTO gone VALUES (1)")
    with psycopg.connect(made.url, autocommit=True) as owner:
        inspection.install(owner)
    return made


@dataclass
class Seen:
    """What one inspected run told, and the catalog that it ended with by its own telling."""

    outcome: Outcome
    played: Pass
    catalog: dict[str, str]


def body(target: Target) -> dict[str, str]:
    with (
        session.connect(
            urls.parse(target.url), application_name="opsportal:test", connect_timeout_s=5, deadline_s=60
        ) as connection,
        session.snapshot(connection, statement_timeout_ms=30_000),
    ):
        return of_project(catalog.read(connection).body)


def of_project(known: Mapping[str, str]) -> dict[str, str]:
    """Without Alembic's own table, which comes before the first step."""
    return {key: value for key, value in known.items() if not grading.is_of_table(key, "alembic_version")}


def inspected(folder: Path, target: Target, *revisions: str, driver: str = "psycopg", **request: Any) -> Seen:
    with psycopg.connect(target.url, autocommit=True) as owner:
        follower = Follower(body(target), inspection.relations_of(owner))
    outcome = running.run(
        running.upgrade_request(target, *revisions, driver=driver, inspect=QUESTIONS, **request),
        folder,
        on_event=[follower.event],
    )
    return Seen(outcome, follower.finish(), of_project(follower.catalog))


@pytest.mark.parametrize("driver", list(ENVIRONMENTS))
def test_locks_rewrites_and_changes_are_seen_with_every_driver(tmp_path: Path, target: Target, driver: str) -> None:
    folder = runnable.write(tmp_path, SCRIPTS, env=ENVIRONMENTS[driver])

    seen = inspected(folder, target, "r1", "r2", driver=driver)

    assert (seen.played.problem, seen.played.uninspected) == ("", ""), seen.outcome.printed
    first, second = seen.played.steps
    told = {
        statement.text.split("(")[0].strip(): (
            {(lock.mode, lock.relation) for lock in statement.locks},
            statement.rewrites,
        )
        for step in (first, second)
        for statement in step.statements
    }
    assert told["SELECT * FROM big"][0] >= {("AccessShareLock", "public.big")}
    locks, rewrites = told["ALTER TABLE big ALTER COLUMN id TYPE bigint"]
    assert ("AccessExclusiveLock", "public.big") in locks
    assert rewrites == ["public.big"]
    assert ("ShareLock", "public.big") in told["CREATE INDEX big_note ON big"][0]
    locks, rewrites = told["TRUNCATE gone"]
    assert ("AccessExclusiveLock", "public.gone") in locks
    assert rewrites == []
    assert "table public.made" in {change.key for change in first.changes}
    assert {str(change) for change in second.changes} >= {
        "~ column public.big.id",
        "+ index public.big_note",
        "- table public.gone",
    }


@pytest.mark.parametrize("driver", list(ENVIRONMENTS))
def test_what_was_told_of_the_catalog_is_the_catalog(tmp_path: Path, target: Target, driver: str) -> None:
    folder = runnable.write(tmp_path, SCRIPTS, env=ENVIRONMENTS[driver])

    seen = inspected(folder, target, "r1", "r2", driver=driver)

    assert seen.catalog == body(target)
    assert "hunter22" in seen.catalog["constraint public.big.pw"]


BEFORE_THE_STEPS = {
    "a setting": 'connection.execute(text("SET search_path TO public"))\nconnection.commit()',
    "a schema": 'connection.execute(text("CREATE SCHEMA app"))\nconnection.commit()',
    "nothing": "",
}


@pytest.mark.parametrize("before", list(BEFORE_THE_STEPS))
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_what_env_py_commits_before_the_steps_hides_nothing_of_the_first(
    tmp_path: Path, target: Target, driver: str, before: str
) -> None:
    up = 'op.execute("ALTER TABLE big ALTER id TYPE bigint")\nop.execute("DROP TABLE gone")'
    env = runnable.env_with(runnable.INI_URL, before=BEFORE_THE_STEPS[before])
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)

    seen = inspected(folder, target, "r1", driver=driver)

    assert seen.catalog == body(target)
    (step,) = seen.played.steps
    assert step.statements[0].rewrites == ["public.big"]
    assert {str(change) for change in step.changes} >= {"- table public.gone", "~ column public.big.id"}
    assert ("+ schema app" in {str(change) for change in step.changes}) == (before == "a schema")


COMMITTED = ("context", "step_started", "version_written", "step_ended", "commit", "finished")
CONFIGURATIONS = {
    "one transaction for all": runnable.env_with(runnable.INI_URL),
    "a transaction per migration": runnable.env_with(runnable.INI_URL, configure="transaction_per_migration=True"),
    "no transaction": runnable.env_with(
        runnable.INI_URL, before='connection = connection.execution_options(isolation_level="AUTOCOMMIT")'
    ),
}


@pytest.mark.parametrize("configuration", list(CONFIGURATIONS))
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_looking_changes_no_commit_and_no_row(
    tmp_path: Path, make_target_database: MakeTargetDatabase, target: Target, driver: str, configuration: str
) -> None:
    plain = Target(make_target_database("not_inspected"))
    plain.execute("CREATE TABLE big (id int PRIMARY KEY, note text)")
    plain.execute("CREATE TABLE gone (id int)")
    env = CONFIGURATIONS[configuration]
    folder = runnable.write(tmp_path / "a", SCRIPTS, env=env)
    other = runnable.write(tmp_path / "b", SCRIPTS, env=env)

    seen = inspected(folder, target, "r1", "r2", driver=driver)
    unseen = running.run(running.upgrade_request(plain, "r1", "r2", driver=driver), other)

    assert seen.outcome.names(*COMMITTED) == unseen.names(*COMMITTED)
    for fact in ("steps_ended", "version_writes", "commits", "statements", "autocommit_blocks", "external_transaction"):
        assert seen.outcome.one("finished")[fact] == unseen.one("finished")[fact], fact
    assert target.revisions() == plain.revisions() == ["r2"]
    assert body(target) == body(plain)
    assert seen.catalog == body(target)


def test_an_autocommit_block_is_looked_at_and_its_end_is_where_it_was(tmp_path: Path, target: Target) -> None:
    script = runnable.Script(
        "r1",
        'op.execute("ALTER TABLE big ADD a int")\n'
        "with op.get_context().autocommit_block():\n"
        '    op.execute("CREATE INDEX CONCURRENTLY big_note ON big (note)")\n'
        'op.execute("ALTER TABLE big ADD b int")',
    )
    folder = runnable.write(tmp_path, [script])

    seen = inspected(folder, target, "r1")

    assert (seen.played.problem, seen.played.uninspected) == ("", "")
    (step,) = seen.played.steps
    told = {each.text: each for each in step.statements}
    assert told["CREATE INDEX CONCURRENTLY big_note ON big (note)"].in_autocommit
    assert not told["ALTER TABLE big ADD b int"].in_autocommit
    assert [lock.mode for lock in told["ALTER TABLE big ADD b int"].locks if lock.relation == "public.big"] == [
        "AccessExclusiveLock"
    ]
    assert step.autocommit_blocks == 1
    assert seen.catalog == body(target)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_connection_in_autocommit_is_seen_though_alembic_opened_no_block(
    tmp_path: Path, target: Target, driver: str
) -> None:
    up = (
        "import sqlalchemy\n"
        'op.execute("ALTER TABLE big ADD a int")\n'
        'beside = op.get_bind().engine.connect().execution_options(isolation_level="AUTOCOMMIT")\n'
        'beside.execute(sqlalchemy.text("ALTER TABLE gone ADD a int"))\n'
        "beside.close()"
    )
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    seen = inspected(folder, target, "r1", driver=driver)

    assert (seen.played.problem, seen.played.uninspected) == ("", "")
    told = {each.text: each.in_autocommit for each in seen.played.steps[0].statements}
    assert told["ALTER TABLE big ADD a int"] is False
    assert told["ALTER TABLE gone ADD a int"] is True


def test_locks_of_views_and_sequences_are_seen_too(tmp_path: Path, make_target_database: MakeTargetDatabase) -> None:
    target = Target(make_target_database("views"))
    target.execute("CREATE TABLE big (id int)")
    target.execute("CREATE VIEW v AS SELECT id FROM big")
    target.execute("CREATE SEQUENCE s")
    with psycopg.connect(target.url, autocommit=True) as owner:
        inspection.install(owner)
    up = 'op.execute("ALTER SEQUENCE s INCREMENT 5")\nop.execute("DROP VIEW v")'
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    seen = inspected(folder, target, "r1")

    first, second = seen.played.steps[0].statements[:2]
    assert "public.s" in {lock.relation for lock in first.locks}
    assert ("AccessExclusiveLock", "public.v") in {(lock.mode, lock.relation) for lock in second.locks}
    assert first.rewrites == []


def test_a_failing_statement_ends_it_as_without_looking(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(
        tmp_path, [runnable.Script("r1", 'op.execute("CREATE TABLE half (id int)")\nop.execute("SELECT 1/0")')]
    )

    seen = inspected(folder, target, "r1")

    assert (seen.played.sqlstate, seen.played.uninspected) == ("22012", "")
    assert [each.failed for each in seen.played.steps[0].statements] == [False, True]
    assert "half" not in target.tables()


def test_a_failure_that_the_revision_handles_itself_is_no_end(tmp_path: Path, target: Target) -> None:
    up = (
        "connection = op.get_bind()\n"
        "try:\n"
        "    with connection.begin_nested():\n"
        '        op.execute("CREATE TABLE half (id int)")\n'
        '        op.execute("SELECT 1/0")\n'
        "except Exception:\n"
        '    op.execute("CREATE TABLE whole (id int)")'
    )
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    seen = inspected(folder, target, "r1")

    assert (seen.played.problem, seen.played.uninspected) == ("", "")
    changes = [each for each in seen.played.steps[0].changes if not grading.is_of_table(each.key, "alembic_version")]
    assert [change.key for change in changes if change.key.startswith("table ")] == ["table public.whole"]


def test_settings_of_the_project_do_not_change_what_is_seen(tmp_path: Path, target: Target) -> None:
    up = (
        'op.execute("SET search_path = nowhere")\nop.execute("SET DateStyle = \'German\'")\n'
        "op.execute(\"ALTER TABLE public.big ADD at date DEFAULT '2026-01-02'\")\n"
        'op.execute("SET search_path = public")'
    )
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    seen = inspected(folder, target, "r1")

    assert seen.catalog == body(target)


def test_a_definition_larger_than_a_line_of_events_arrives_whole(tmp_path: Path, target: Target) -> None:
    up = (
        "columns = ', '.join(f\"'{'ü' * 400}' AS c{n}\" for n in range(1500))\n"
        'op.execute(f"CREATE VIEW wide AS SELECT {columns}")'
    )
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    seen = inspected(folder, target, "r1")

    assert (seen.outcome.exit.ended_by, seen.played.problem) == ("itself", "")
    assert seen.catalog == body(target)


def test_after_too_many_statements_it_says_that_it_looks_no_more(tmp_path: Path, target: Target) -> None:
    up = 'for n in range(2010):\n    op.execute("SELECT 1")\nop.execute("ALTER TABLE big ADD a int")'
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    seen = inspected(folder, target, "r1")

    assert seen.outcome.names().count("looks_ended") == 1
    statements = seen.played.steps[0].statements
    assert not statements[0].unseen
    assert next(each for each in statements if each.text == "ALTER TABLE big ADD a int").unseen
    assert seen.catalog == body(target)


def test_without_questions_nothing_is_asked(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, SCRIPTS)

    outcome = running.run(running.upgrade_request(target, "r1", "r2"), folder)

    assert outcome.names("inspected", "not_inspected", "looks_ended") == []


def test_a_copy_without_the_questions_says_that_it_could_not_be_looked_at(
    tmp_path: Path, make_target_database: MakeTargetDatabase
) -> None:
    bare = Target(make_target_database("bare"))
    folder = runnable.write(tmp_path, runnable.chain("alpha"))
    follower = Follower({}, {})

    outcome = running.run(running.upgrade_request(bare, "r1", inspect=QUESTIONS), folder, on_event=[follower.event])

    assert follower.finish().uninspected
    assert outcome.names().count("not_inspected") == 1
