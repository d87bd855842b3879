"""Group B of the faults: workers and runners that die, freeze or are stopped. docs/reliability.md has the table."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from celery import current_app

from migrations_audit.models import Environment, MigrationRun
from migrations_audit.queries import workers
from tests import people
from tests.acceptance.portal import Portal
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable
from tests.reliability import truth
from tests.reliability.conftest import StartWorker
from tests.waiting import wait_for

SLEEPY = 'op.execute("CREATE TABLE half (id int)")\nop.execute("SELECT pg_sleep(60)")'
BRIEF = 'op.execute("CREATE TABLE whole (id int)")\nop.execute("SELECT pg_sleep(6)")'


def asleep(portal: Portal, url: str, up: str = SLEEPY, **asked: str) -> MigrationRun:
    """A run whose revision sleeps in the target now."""
    place = portal.place(url, truth.counted(url, up), **asked)
    run = portal.started(place)
    wait_for(lambda: truth.active(url), within=30, what="the revision to sleep")
    return run


def assert_nothing_applied(portal: Portal, run: MigrationRun, url: str) -> None:
    ended = portal.until(run.number, "failed", within=40)
    assert (ended.reason_code, ended.verdict) == ("no_change", "unverified"), ended.sentence
    assert truth.tables(url) == set()
    assert not truth.active(url)
    truth.assert_nothing_lost(portal, url)


def test_a_worker_killed_before_the_claim_leaves_the_run_to_another(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F15."""
    url = make_target_database("f15")
    first = start_worker("before_claim=kill")
    run = portal.started(portal.place(url, truth.counted(url, 'op.execute("CREATE TABLE users (id int)")')))
    wait_for(lambda: "Failpoint before_claim" in portal.workers.said(), what="the kill")
    portal.workers.kill(first)
    run.refresh_from_db()
    assert run.state == "queued"

    start_worker()

    assert portal.until(run.number, "applied").verdict == "verified"
    assert truth.executions(url) == 1
    truth.assert_nothing_lost(portal, url)


def test_a_worker_killed_after_the_claim_is_found_to_have_done_nothing(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F16, F14: its message is not delivered again, and another run goes on meanwhile."""
    url, other_url = make_target_database("f16"), make_target_database("f16_other")
    start_worker("after_claim=kill")
    run = portal.started(portal.place(url, truth.counted(url, SLEEPY)))
    portal.until(run.number, "outcome_unknown")

    other = portal.planned(portal.place(other_url, runnable.chain("users")))

    assert other.state == "awaiting_approval"
    assert_nothing_applied(portal, run, url)
    assert truth.executions(url) == 0
    assert truth.of_run(run.number).count("run.worker_lost") == 1


@pytest.mark.parametrize("who", ["pool process", "runner"])
def test_a_kill_during_transactional_ddl_leaves_nothing(
    sound: Portal, make_target_database: MakeTargetDatabase, who: str
) -> None:
    """F17."""
    url = make_target_database("f17")
    run = asleep(sound, url)

    os.kill(truth.pool_process(run) if who == "pool process" else truth.runner_of(run), signal.SIGKILL)

    assert_nothing_applied(sound, run, url)
    assert ("run.worker_lost" in truth.of_run(run.number)) == (who == "pool process")


def test_a_kill_inside_commit_is_judged_by_what_the_target_then_holds(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F18. A deferred trigger keeps the COMMIT busy; what is visible meanwhile is not the truth yet."""
    url = make_target_database("f18")
    truth.change(
        url,
        "CREATE TABLE slow (id int)",
        "CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4); RETURN NULL; END'",
        "CREATE CONSTRAINT TRIGGER nap AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nap()",
    )
    up = 'op.execute("CREATE TABLE users (id int)")\nop.execute("INSERT INTO slow VALUES (1)")'
    run = sound.started(sound.place(url, truth.counted(url, up)))
    wait_for(lambda: truth.active(url, "COMMIT"), within=30, what="the COMMIT")

    truth.kill_pool_process(run)

    ended = sound.until(run.number, "applied", "failed", within=40)
    assert (ended.state == "applied") == ("users" in truth.tables(url)), ended.sentence
    assert (ended.state == "applied") == (ended.verdict == "verified")
    truth.assert_nothing_lost(sound, url)


@pytest.mark.parametrize("where", ["after_runner", "before_finish"])
def test_a_worker_killed_after_the_commit_is_confirmed_by_reconciliation(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase, where: str
) -> None:
    """F19."""
    url = make_target_database("f19")
    start_worker(f"{where}=kill")
    run = portal.started(portal.place(url, truth.counted(url, 'op.execute("CREATE TABLE users (id int)")')))

    ended = portal.until(run.number, "applied", within=40)

    assert ended.verdict == "verified"
    assert "Confirmed by reconciliation; the worker was lost." in ended.sentence
    assert truth.tables(url) == {"users"}
    truth.assert_nothing_lost(portal, url)


def test_the_folders_of_a_killed_worker_are_removed_by_the_next_one_on_its_machine(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase, tmp_path: Path
) -> None:
    """What lies in them is the project's files; the next run does not need them."""
    url = make_target_database("folders")
    start_worker("after_runner=kill", TMPDIR=str(tmp_path))
    run = portal.started(portal.place(url, truth.counted(url, 'op.execute("CREATE TABLE users (id int)")')))
    portal.until(run.number, "applied", within=40)
    left = list(tmp_path.glob("opsportal-run-*"))

    start_worker(TMPDIR=str(tmp_path))

    wait_for(lambda: not list(tmp_path.glob("opsportal-run-*")), what="the folders to go")
    assert len(left) == 2


def test_a_worker_killed_after_its_last_write_changes_nothing(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F19, F10: what is written is written; the message is not worked on a second time."""
    url = make_target_database("f19_after")
    start_worker("after_finish=kill")
    run = portal.started(portal.place(url, truth.counted(url, 'op.execute("CREATE TABLE users (id int)")')))

    ended = portal.until(run.number, "applied", within=40)

    assert "run.worker_lost" not in truth.of_run(ended.number)
    truth.assert_nothing_lost(portal, url)


def test_a_kill_in_an_autocommit_block_is_called_possibly_partly_applied(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F20, the data part: the catalog cannot show what happened."""
    url = make_target_database("f20")
    truth.change(url, "CREATE TABLE stock (n int)", "INSERT INTO stock VALUES (100)", truth.EMPTY_VERSION_TABLE)
    up = """
with op.get_context().autocommit_block():
    op.execute("UPDATE stock SET n = n + 1")
    op.execute("SELECT pg_sleep(60)")
"""
    run = asleep(sound, url, up)

    truth.kill_pool_process(run)

    ended = sound.until(run.number, "failed", within=40)
    assert ended.reason_code == "possibly_partly_applied"
    assert "A person must look" in ended.sentence
    assert truth.ask(url, "SELECT n FROM stock") == "101"
    truth.assert_nothing_lost(sound, url)


def test_a_kill_while_an_index_is_built_concurrently_names_the_invalid_index(
    sound: Portal, make_target_database: MakeTargetDatabase
) -> None:
    """F20, the catalog part."""
    url = make_target_database("f20_index")
    truth.change(url, "CREATE TABLE stock (n int)")
    up = 'with op.get_context().autocommit_block():\n    op.execute("CREATE INDEX CONCURRENTLY stock_n ON stock (n)")'
    place = sound.place(url, truth.counted(url, up))
    run = sound.planned(place)
    with truth.holding(url, "INSERT INTO stock VALUES (1)"):
        people.approve_by_all(place, run.number, truth.digest_of(run))
        truth.start(place, run)
        wait_for(lambda: truth.active(url, "CREATE INDEX CONCURRENTLY"), within=30, what="the index to be built")
        truth.kill_pool_process(run)
        ended = sound.until(run.number, "failed", within=40)

    assert ended.reason_code == "partly_applied"
    assert "stock_n" in ended.evidence.get(check_name="invalid indexes", outcome="failed").observed
    truth.assert_nothing_lost(sound, url)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["main process", "whole group", "after a polite request"])
def test_a_worker_that_is_gone_is_reconciled_by_another_which_also_takes_what_waits(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase, how: str
) -> None:
    """F21, F22, F26."""
    url, other_url = make_target_database("f21"), make_target_database("f21_other")
    gone = start_worker()
    run = asleep(portal, url)
    if how == "after a polite request":
        gone.terminate()
        wait_for(
            lambda: workers.ending_with(portal.until(run.number, "running")),
            what="the portal to know that the worker ends",
        )
    if how == "main process":
        gone.kill()
        gone.wait()
    else:
        portal.workers.kill(gone)
    place = portal.place(other_url, runnable.chain("users"))

    start_worker()

    other = portal.ended(place)
    assert (other.state, other.verdict) == ("applied", "verified"), other.sentence
    assert_nothing_applied(portal, run, url)


@pytest.mark.slow
def test_a_frozen_worker_loses_its_run_and_writes_nothing_when_it_wakes(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F24, frozen while it executes."""
    url = make_target_database("f24")
    frozen = start_worker()
    run = asleep(portal, url)
    lost = truth.pool_process(run)
    os.killpg(frozen.pid, signal.SIGSTOP)
    portal.until(run.number, "outcome_unknown")
    start_worker()
    ended = portal.until(run.number, "failed", within=40)

    os.killpg(frozen.pid, signal.SIGCONT)

    wait_for(lambda: "no longer held" in portal.workers.said(), what="the late write to be refused")
    wait_for(lambda: not truth.children_of(lost), what="its runner to be gone")
    run.refresh_from_db()
    assert (run.state, run.sentence, run.epoch) == ("failed", ended.sentence, ended.epoch)
    assert_nothing_applied(portal, run, url)


def test_a_verdict_that_was_frozen_on_its_way_is_refused_in_favour_of_the_reconciliations(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F24, frozen between the reading and the last write."""
    url = make_target_database("f24_late")
    start_worker("before_finish=stop")
    run = portal.started(portal.place(url, truth.counted(url, 'op.execute("CREATE TABLE users (id int)")')))
    wait_for(lambda: "Failpoint before_finish" in portal.workers.said(), within=30, what="the worker to freeze")
    frozen = truth.pool_process(run)
    ended = portal.until(run.number, "applied", within=40)

    os.kill(frozen, signal.SIGCONT)

    wait_for(lambda: f"Stopped: Run {run.number} " in portal.workers.said(), what="the late write to be refused")
    assert "Confirmed by reconciliation" in ended.sentence
    truth.assert_nothing_lost(portal, url)


@pytest.mark.slow
def test_a_worker_asked_to_end_finishes_its_run_and_claims_no_other(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F25. The revision sleeps longer than the lease, so the heartbeat must go on while the worker drains."""
    url, other_url = make_target_database("f25"), make_target_database("f25_other")
    draining = start_worker()
    waiting = portal.planned(portal.place(other_url, runnable.chain("users")))
    run = asleep(portal, url, BRIEF)

    draining.terminate()

    ended = portal.until(run.number, "applied", within=40)
    assert ended.verdict == "verified"
    assert "run.worker_lost" not in truth.of_run(run.number)
    draining.wait(30)
    waiting.refresh_from_db()
    assert waiting.state == "awaiting_approval"
    assert "run.claimed" not in truth.of_run(waiting.number)
    truth.assert_nothing_lost(portal, url)


@pytest.mark.slow
def test_a_worker_told_to_quit_at_once_leaves_the_verdict_to_the_target(
    portal: Portal, start_worker: StartWorker, make_target_database: MakeTargetDatabase
) -> None:
    """F27. The first SIGQUIT gives tasks a minute; those that follow end it."""
    url = make_target_database("f27")
    quitting = start_worker()
    run = asleep(portal, url)

    def has_quit() -> bool:
        quitting.send_signal(signal.SIGQUIT)
        return quitting.poll() is not None

    wait_for(has_quit, within=30, what="the worker to end")
    start_worker()

    assert_nothing_applied(portal, run, url)


IN_PYTHON = """
import time
from alembic import context
if not context.is_offline_mode():
    time.sleep(100)
"""


@pytest.mark.parametrize("hang", ['op.execute("SELECT pg_sleep(100)")', IN_PYTHON], ids=["in a statement", "in Python"])
def test_a_run_that_hangs_is_ended_at_its_deadline(
    sound: Portal, make_target_database: MakeTargetDatabase, hang: str
) -> None:
    """F28, F31: the portal's own limit; there is none of Celery's, which would kill the supervisor."""
    url = make_target_database("f31")
    place = sound.place(url, truth.counted(url, f'op.execute("CREATE TABLE half (id int)")\n{hang}'))
    Environment.objects.filter(pk=place.environment.pk).update(deadline_s=5)

    run = sound.started(place)

    ended = sound.until(run.number, "failed", within=40)
    assert "stopped at its deadline" in ended.sentence
    assert_nothing_applied(sound, run, url)


def test_a_task_revoked_from_outside_goes_on(sound: Portal, make_target_database: MakeTargetDatabase) -> None:
    """F29: workers take no remote control, so that nobody who reaches the broker can end a run."""
    url = make_target_database("f29")
    run = asleep(sound, url, BRIEF)
    tasks = re.findall(r"execute_run\[([0-9a-f-]+)\] received", sound.workers.said())

    current_app.control.revoke(tasks[-1], terminate=True, signal="SIGKILL")
    current_app.control.broadcast("shutdown")

    assert sound.until(run.number, "applied", within=40).verdict == "verified"
    truth.assert_nothing_lost(sound, url)
