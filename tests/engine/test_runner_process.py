"""The supervisor keeps what a run prints, ends it when it must end, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrations_audit.engine import children, process, protocol
from tests.conftest import MakeTargetDatabase
from tests.engine import runnable, running
from tests.engine.running import Target
from tests.waiting import wait_for

SLEEP = [runnable.Script("r1", 'op.execute("CREATE TABLE alpha (id int)"); op.execute("SELECT pg_sleep(600)")')]
ENVIRONMENTS = {"psycopg": runnable.ONLINE_ENV, "psycopg2": runnable.ONLINE_ENV, "asyncpg": runnable.ASYNC_ENV}


@pytest.fixture
def target(make_target_database: MakeTargetDatabase) -> Target:
    return Target(make_target_database("runner"))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def in_sleep(target: Target) -> bool:
    return any("pg_sleep" in query for _, query in target.ours())


@pytest.mark.parametrize("driver", list(ENVIRONMENTS))
def test_a_cancelled_run_ends_by_the_cancelled_statement(tmp_path: Path, target: Target, driver: str) -> None:
    folder = runnable.write(tmp_path, SLEEP, env=ENVIRONMENTS[driver])

    outcome = running.run(
        running.upgrade_request(target, "r1", driver=driver),
        folder,
        stop=lambda _: "cancel" if in_sleep(target) else None,
        interrupt=target.cancel_ours,
    )

    assert (outcome.exit.ended_by, outcome.exit.exit_code, outcome.exit.signal) == ("cancel", 1, 0)
    assert outcome.one("error")["sqlstate"] == "57014"
    assert target.ours() == []
    assert target.tables() == set()


def test_a_run_that_does_not_end_when_interrupted_gets_a_signal(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, [runnable.Script("r1", "import time; time.sleep(600)")])

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        folder,
        stop=lambda told: "cancel" if told.all("step_started") else None,
    )

    assert outcome.exit == replace(
        outcome.exit, ended_by="cancel", signal=signal.SIGTERM, exit_code=128 + signal.SIGTERM
    )


def test_a_run_that_lost_its_lease_is_killed_at_once(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, SLEEP)

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        folder,
        stop=lambda told: "lost_lease" if told.all("step_started") else None,
    )

    assert (outcome.exit.ended_by, outcome.exit.signal) == ("lost_lease", signal.SIGKILL)


def test_a_run_that_is_cancelled_before_it_has_the_lock_never_takes_it(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, SLEEP)

    outcome = running.run(running.upgrade_request(target, "r1"), folder, stop=lambda told: "cancel")

    assert (outcome.exit.ended_by, outcome.exit.signal) == ("cancel", signal.SIGKILL)
    assert outcome.names("lock_taken") == []
    assert target.tables() == set()


def test_a_run_that_ignores_sigterm_is_killed(tmp_path: Path, target: Target) -> None:
    up = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(
        running.upgrade_request(target, "r1"), folder, stop=lambda told: "cancel" if told.all("step_started") else None
    )

    assert outcome.exit.signal == signal.SIGKILL


def test_the_deadline_ends_a_run(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, SLEEP)
    interrupted: list[bool] = []

    def interrupt() -> None:
        interrupted.append(True)
        target.cancel_ours()

    outcome = running.run(
        running.upgrade_request(target, "r1"), folder, limits=replace(running.LIMITS, deadline_s=3), interrupt=interrupt
    )

    assert outcome.exit.ended_by == "deadline"
    assert interrupted == [True]
    assert target.tables() == set()


def test_an_error_while_storing_an_event_kills_the_runner_and_comes_out(tmp_path: Path, target: Target) -> None:
    pids: list[int] = []

    def store(event: dict[str, Any]) -> None:
        if event["event"] == "hello":
            pids.append(event["pid"])
        if event["event"] == "statement_started":
            raise LookupError("the portal's database is gone")

    with pytest.raises(LookupError, match="is gone"):
        running.run(running.upgrade_request(target, "r1"), runnable.write(tmp_path, SLEEP), on_event=[store])

    assert not alive(pids[0])
    wait_for(lambda: not target.ours(), what="the backend to notice")


def test_nothing_survives_the_sigkill_of_the_supervisor(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, SLEEP)
    started = tmp_path / "pid"
    request = running.upgrade_request(target, "r1")
    command = [sys.executable, "-m", "tests.engine.supervise", str(folder), str(started)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # it will not be there to clean up
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as supervisor:
        assert supervisor.stdin is not None
        supervisor.stdin.write(request.as_json(running.LIMITS))
        supervisor.stdin.close()
        wait_for(lambda: in_sleep(target), what="the runner to sleep")
        runner = int(started.read_text())
        assert alive(runner)

        supervisor.kill()

    wait_for(lambda: not alive(runner), what="the runner to die")
    wait_for(lambda: not target.ours(), what="the backend to notice")
    assert target.tables() == set()


def test_a_daemon_that_a_revision_leaves_behind_is_killed_and_does_not_hold_the_run(
    tmp_path: Path, target: Target
) -> None:
    up = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                open("daemon", "w").write(str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        while not os.path.exists("daemon"):
            time.sleep(0.01)
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.exit.exit_code == 0
    assert outcome.one("leftovers_killed")["count"] == 1
    assert not alive(int((folder / "daemon").read_text()))


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"event": "made up"}',
        '{"event": ["x"]}',
        '{"event": "hello", "x": NaN}',
        '{"event": "hello", "x": "' + "x" * 1_100_000 + '"}',
    ],
    ids=range(6),
)
def test_an_event_that_the_runner_never_sends_ends_the_run(tmp_path: Path, target: Target, line: str) -> None:
    forging = f"""
        import os, stat, sys, time
        pipes = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 100]
        for descriptor in pipes:
            try:
                os.write(descriptor, ({line!r} + chr(10)).encode())
            except OSError:
                pass
        time.sleep(600)
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", forging)])

    outcome = running.run(running.upgrade_request(target, "r1"), folder)

    assert outcome.exit.ended_by == "protocol"
    assert outcome.exit.signal == signal.SIGTERM


def test_every_event_of_the_program_is_described() -> None:
    program = "".join(path.read_text() for path in children.PROGRAM.rglob("*.py"))
    said = re.findall(r"(?:emit|_tell)\(\s*\"([a-z_]+)\"", program)

    assert set(said) == set(protocol.EVENTS)


def test_events_are_made_fit_to_store() -> None:
    lines = protocol.EventLines(lambda text: text.replace("\0", "?").replace("\ud800", "?"))
    sent = b'{"event": "hello", "a": "nul \\u0000", "b": [{"c": "\\ud800"}], "n": 1}\n'

    (event,) = [*lines.feed(sent[:20]), *lines.feed(sent[20:])]

    assert event == {"event": "hello", "a": "nul ?", "b": [{"c": "?"}], "n": 1}


def test_a_large_request_is_read_whole(tmp_path: Path, target: Target) -> None:
    request = running.upgrade_request(target, "r1", x_arguments=("note=" + "x" * 3_000_000,))
    env = (
        "from alembic import context\nprint(len(context.get_x_argument(as_dictionary=True)['note']))\n"
        + runnable.env_with(runnable.INI_URL)
    )

    outcome = running.run(request, runnable.write(tmp_path, runnable.chain("alpha"), env=env))

    assert outcome.printed["stdout"] == "3000000\n"


def test_the_project_gets_no_connection_before_the_supervisor_has_said_go(tmp_path: Path, target: Target) -> None:
    asked: list[bool] = []

    def may_go() -> bool:
        asked.append(True)
        return False

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        runnable.write(tmp_path, runnable.chain("alpha")),
        may_go=may_go,
        stop=lambda told: "lost_lease" if told.all("ready") else None,
    )

    assert asked == [True]
    assert (outcome.exit.ended_by, outcome.exit.signal) == ("lost_lease", signal.SIGKILL)
    assert outcome.names("lock_taken", "ready", "context", "step_started") == ["lock_taken", "ready"]
    assert target.tables() == set()


def test_every_further_connection_needs_the_word_too(tmp_path: Path, target: Target) -> None:
    env = runnable.env_with(runnable.INI_URL, setup=f"early = create_engine({runnable.INI_URL}).connect()")
    folder = runnable.write(tmp_path, runnable.chain("alpha"), env=env)
    words = iter([True, False])

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        folder,
        may_go=lambda: next(words),
        stop=lambda told: "lost_lease" if len(told.all("ready")) == 2 else None,
    )

    assert outcome.names("ready", "context", "step_started") == ["ready", "ready"]
    assert target.tables() == set()


def test_a_cancel_that_a_project_survives_is_repeated(tmp_path: Path, target: Target) -> None:
    up = """
        import sqlalchemy
        for _ in range(3):
            try:
                with op.get_bind().begin_nested():
                    op.execute("SELECT pg_sleep(600)")
            except sqlalchemy.exc.OperationalError:
                pass
    """
    folder = runnable.write(tmp_path, [runnable.Script("r1", up)])

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        folder,
        stop=lambda _: "cancel" if in_sleep(target) else None,
        interrupt=target.cancel_ours,
    )

    assert outcome.exit.ended_by == "cancel"
    assert len(outcome.all("statement_failed")) == 3


def test_interrupts_that_a_frozen_server_holds_up_do_not_put_off_the_signals(tmp_path: Path, target: Target) -> None:
    folder = runnable.write(tmp_path, [runnable.Script("r1", "import time; time.sleep(600)")])
    interrupts: list[bool] = []

    outcome = running.run(
        running.upgrade_request(target, "r1"),
        folder,
        stop=lambda told: "cancel" if told.all("step_started") else None,
        interrupt=lambda: interrupts.append(threading.Event().wait(process.GRACE_S / 2 + 0.1)),
    )

    assert (outcome.exit.ended_by, outcome.exit.signal) == ("cancel", signal.SIGTERM)
    assert len(interrupts) == 2
