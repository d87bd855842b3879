"""One run at a time works on a target: the lock is held by the session that migrates."""

from __future__ import annotations

import threading
from pathlib import Path
from textwrap import dedent

import psycopg
import pytest

from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Outcome, Target

THREE = runnable.chain("alpha", "beta", "gamma")


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


def test_a_held_lock_is_waited_for_showing_its_holder_and_refused_after_the_budget(
    tmp_path: Path, target: Target
) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    with psycopg.connect(target.url, autocommit=True, application_name="the night batch") as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", running.LOCK_KEY)

        outcome = running.run(running.upgrade_request(target, "r1", lock_budget_s=2), folder)

        pid = holder.info.backend_pid

    assert outcome.refusal == "lock_busy"
    assert outcome.one("refused")["holder"]["pid"] == pid
    assert "the night batch" in outcome.one("refused")["message"]
    waiting = outcome.all("lock_waiting")
    assert {event["holder"]["application_name"] for event in waiting} == {"the night batch"}
    assert 1 <= len(waiting) <= 3
    assert target.tables() == set()


def test_the_run_goes_on_when_the_lock_becomes_free(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, THREE[:1])
    with psycopg.connect(target.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", running.LOCK_KEY)

        outcome = running.run(
            running.upgrade_request(target, "r1", lock_budget_s=60),
            folder,
            on_event=[lambda event: holder.close() if event["event"] == "lock_waiting" else None],
        )

    assert outcome.exit.exit_code == 0
    assert outcome.names("lock_waiting", "lock_taken")[-2:] == ["lock_waiting", "lock_taken"]


def test_two_runs_at_once_do_not_overlap(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(
        tmp_path, [runnable.Script("r1", 'op.execute("SELECT pg_sleep(1)"); op.execute("CREATE TABLE alpha (id int)")')]
    )
    outcomes: list[Outcome] = []
    gate = threading.Barrier(2)

    def go() -> None:
        gate.wait()
        outcomes.append(running.run(running.upgrade_request(target, "r1", lock_budget_s=60), folder))

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcome.exit.exit_code for outcome in outcomes) == [0, 3]
    late = max(outcomes, key=lambda outcome: outcome.exit.exit_code)
    assert late.names("lock_waiting", "lock_taken", "refused")[-2:] == ["lock_waiting", "refused"]
    assert late.refusal == "start_changed"


LOCKS_HERE = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    f" AND objid = {running.LOCK_KEY[1] & 0xFFFFFFFF}"
)


def test_the_lock_moves_to_the_migrating_session_when_an_earlier_one_was_closed(tmp_path: Path, target: Target) -> None:
    early = f"""
        with create_engine({runnable.INI_URL}, poolclass=pool.NullPool).connect() as early:
            early.execute(text("SELECT 1"))
    """
    up = f'print("locks here:", op.get_bind().exec_driver_sql("{LOCKS_HERE}").scalar())'
    env = runnable.env_with(runnable.INI_URL, setup=early)

    outcome = running.run(
        running.upgrade_request(target, "r1"), runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)
    )

    assert len(outcome.all("connected")) == len(outcome.all("lock_taken")) == 2
    assert outcome.printed["stdout"] == "locks here: 1\n"


@pytest.mark.parametrize("begun", [False, True], ids=["idle", "in a transaction"])
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_lock_moves_to_the_migrating_session_when_an_earlier_one_stays_open(
    tmp_path: Path, target: Target, driver: str, begun: bool
) -> None:
    begin = 'early.execute(text("SELECT 1"))' if begun else ""
    after = f"""
        print("idle there:", early.connection.dbapi_connection.info.transaction_status == 0)
        print("locks there:", early.exec_driver_sql("{LOCKS_HERE}").scalar())
    """
    up = f'print("locks here:", op.get_bind().exec_driver_sql("{LOCKS_HERE}").scalar())'
    setup = f"early = create_engine({runnable.INI_URL}).connect()\n{begin}"
    folder = runnable.write(
        tmp_path,
        [runnable.Script("r1", up)],
        env=runnable.env_with(runnable.INI_URL, setup=setup) + dedent(after),
    )

    outcome = running.run(running.upgrade_request(target, "r1", driver=driver), folder)

    assert outcome.exit.exit_code == 0
    assert outcome.printed["stdout"] == f"locks here: 1\nidle there: {not begun}\nlocks there: 0\n"


def test_the_lock_moves_between_the_sessions_of_an_async_project(tmp_path: Path, target: Target) -> None:
    env = dedent(runnable.ASYNC_ENV).replace(
        "    async with engine.connect() as connection:",
        "    async with engine.connect(), engine.connect() as connection:",
    )
    up = f'print("locks here:", op.get_bind().exec_driver_sql("{LOCKS_HERE}").scalar())'
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)], env=env)

    outcome = running.run(running.upgrade_request(target, "r1", driver="asyncpg"), folder)

    assert outcome.exit.exit_code == 0
    assert len(outcome.all("connected")) == 2
    assert outcome.printed["stdout"] == "locks here: 1\n"
