"""Real upgrades by a real worker on a real target: what is said is what the target holds."""

from __future__ import annotations

import psycopg
import pytest

from migrations_audit.actions import runs
from migrations_audit.errors import PortalError
from migrations_audit.models import AuditEvent
from migrations_audit.states import Operation
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.waiting import wait_for

SLEEPY = """
op.execute("CREATE TABLE before_sleep (id int PRIMARY KEY)")
op.execute("SELECT pg_sleep(30)")
"""


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {str(row[0]) for row in rows}


def outcomes(run_number: int) -> dict[str, str]:
    from_run = people.evidence_of(run_number)
    return {item.check_name: item.outcome for item in from_run}


def test_an_approved_upgrade_is_applied_and_verified(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("good")
    place = portal.place(url, runnable.chain("users", "orders", "invoices"))

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert tables(url) == {"users", "orders", "invoices", "alembic_version"}
    assert set(outcomes(run.number).values()) == {"passed"}
    assert [step.state for step in run.steps.all()] == ["committed"] * 3
    assert run.log.filter(stream="statement", text__contains="CREATE TABLE orders").exists()
    changes = run.evidence.get(check_name="catalog difference").detail
    assert any(line.startswith("+ table public.invoices") for line in changes)


def test_a_failing_revision_leaves_nothing_and_says_so(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("failing")
    scripts = [
        *runnable.chain("users"),
        runnable.Script("r2", 'op.execute("CREATE TABLE nope (id no_such_type)")', "r1"),
    ]
    place = portal.place(url, scripts)

    run = portal.ended(place)

    assert (run.state, run.verdict, run.reason_code) == ("failed", "unverified", "no_change")
    assert "no_such_type" in run.sentence
    assert tables(url) == set()


def test_a_process_that_exits_with_0_and_no_effect_is_contradicted(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("no_effect")
    env = runnable.env_with(runnable.INI_URL, before='connection.execute(text("SELECT 1"))')
    place = portal.place(url, runnable.chain("users"), env=env)

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("failed", "contradicted")
    assert "Alembic reported no error, but" in run.sentence
    assert tables(url) == set()


def test_a_revision_that_is_recorded_without_its_table_is_contradicted(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("stamped")
    lie = 'from alembic import context\nif context.is_offline_mode():\n    op.execute("CREATE TABLE modules (id int)")'
    place = portal.place(url, [runnable.Script("r1", lie)])

    run = portal.ended(place)

    assert (run.state, run.verdict) == ("failed", "contradicted")
    assert "table modules is absent" in run.sentence
    assert tables(url) == {"alembic_version"}


def test_an_env_py_that_connects_elsewhere_is_refused(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url, elsewhere = make_target_database("approved"), make_target_database("elsewhere")
    driver_url = elsewhere.replace("postgresql://", "postgresql+psycopg://")
    place = portal.place(url, runnable.chain("users"), env=runnable.env_with(repr(driver_url)))

    run = portal.ended(place)

    assert (run.state, run.reason_code) == ("refused", "wrong_target")
    assert tables(url) == set()
    assert tables(elsewhere) == set()


def test_a_wrong_password_ends_the_plan_with_the_reason(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("locked_out")
    user, _, rest = url.removeprefix("postgresql://").partition(":")
    _, _, server = rest.partition("@")
    place = portal.place(f"postgresql://{user}:wrong-canary-7731@{server}", runnable.chain("users"))

    run = portal.planned(place)

    assert (run.state, run.reason_code) == ("plan_failed", "authentication")
    assert "password" in run.sentence
    assert "wrong-canary-7731" not in run.sentence + portal.workers.said()


def test_a_cancel_stops_the_statement_on_the_server(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("cancelled")
    place = portal.place(url, [runnable.Script("r1", SLEEPY)])
    run = portal.started(place)
    wait_for(lambda: sleeping(url), within=30, what="the revision to sleep")

    runs.cancel(actor=place.actor("operator"), number=run.number)

    ended = portal.until(run.number, "cancelled", within=25)
    assert "Cancelled before any commit" in ended.sentence
    assert tables(url) == set()
    assert not sleeping(url)


def test_a_worker_killed_during_ddl_leads_to_the_truth(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("killed")
    place = portal.place(url, [runnable.Script("r1", SLEEPY)])
    run = portal.started(place)
    wait_for(lambda: sleeping(url), within=30, what="the revision to sleep")

    portal.workers.kill(portal.workers.processes[-1])
    unknown = portal.until(run.number, "outcome_unknown", within=30)
    assert "stopped answering" in unknown.sentence
    portal.workers.start()

    ended = portal.until(run.number, "failed", within=60)
    assert (ended.reason_code, ended.verdict) == ("no_change", "unverified")
    assert "worker was lost" in ended.sentence
    assert tables(url) == set()
    assert not sleeping(url)


def test_of_two_operators_at_once_one_starts_the_run(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("raced")
    place = portal.place(url, runnable.chain("users"))
    run = portal.planned(place)
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    digest = run.plan.digest
    answers = people.at_once(
        2,
        lambda _: runs.start(actor=place.actor("operator"), number=run.number, digest=digest, confirm=run.target.label),
    )

    assert sorted(isinstance(answer, PortalError) for answer in answers) == [False, True]
    assert portal.until(run.number, "applied").verdict == "verified"
    assert AuditEvent.objects.filter(action="run.claimed", object_id=str(run.number)).count() == 1


def test_a_script_changed_after_approval_voids_it(portal: Portal, make_target_database: MakeTargetDatabase) -> None:
    url = make_target_database("edited")
    place = portal.place(url, runnable.chain("users"))
    run = portal.planned(place)
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    with open(f"{place.project.folder}/migrations/versions/r1.py", "a") as file:
        file.write("# changed\n")

    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)

    ended = portal.until(run.number, "void")
    assert ended.reason_code == "scripts_changed"
    assert tables(url) == set()


def test_an_upgrade_by_hand_between_approval_and_start_voids_it(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("by_hand")
    place = portal.place(url, runnable.chain("users"))
    run = portal.planned(place)
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('r1')")

    runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)

    ended = portal.until(run.number, "void")
    assert ended.reason_code == "start_changed"
    assert "somebody else did it" in ended.sentence


def test_an_upgrade_is_rolled_back_through_the_same_gates(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("rolled_back")
    place = portal.place(url, runnable.chain("users", "orders"))
    portal.ended(place, revision="r1")
    upgraded = portal.ended(place)
    assert upgraded.verdict == "verified"

    run = portal.ended(place, revision="r1", operation=Operation.ROLLBACK)

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert tables(url) == {"users", "alembic_version"}
    assert run.evidence.get(check_name="catalog as last seen at this revision").outcome == "passed"


def test_a_lost_message_is_sent_again_and_two_messages_run_once(
    portal: Portal, make_target_database: MakeTargetDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_target_database("lost_message")
    place = portal.place(url, runnable.chain("users"))
    run = portal.planned(place)
    assert run.plan is not None
    people.approve_by_all(place, run.number, run.plan.digest)
    with monkeypatch.context() as patch:
        patch.setattr("migrations_audit.dispatch._send", lambda *_, **__: None)
        runs.start(actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label)

    ended = portal.until(run.number, "applied")

    assert ended.dispatch_count >= 2
    assert ended.epoch == run.epoch + 1


def test_several_heads_in_a_project_below_its_folder_are_upgraded_together(
    portal: Portal, make_target_database: MakeTargetDatabase
) -> None:
    url = make_target_database("heads")
    folder = portal.roots / "monorepo"
    scripts = [
        runnable.Script("base1", 'op.execute("CREATE TABLE root (id int PRIMARY KEY)")'),
        runnable.Script("left1", 'op.execute("CREATE TABLE lefts (id int PRIMARY KEY)")', "base1"),
        runnable.Script("right1", 'op.execute("CREATE TABLE rights (id int PRIMARY KEY)")', "base1"),
    ]
    runnable.write(folder / "backend", scripts)
    place = portal.register(url, folder, config_path="backend/alembic.ini")

    run = portal.ended(place, revision="heads")

    assert (run.state, run.verdict) == ("applied", "verified"), run.sentence
    assert run.plan is not None
    assert run.plan.to_revisions == ["left1", "right1"]
    assert tables(url) == {"root", "lefts", "rights", "alembic_version"}


def sleeping(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep%'"
            " AND pid <> pg_backend_pid() AND state = 'active'"
        ).fetchone()
    return row is not None and row[0] > 0
