"""The portal's own processes are watched, started again when they end, and stopped with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from opsportal.local import children, demo, process
from tests.waiting import wait_for

Begin = Callable[[str], children.Child]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start a Python program as a child; it is stopped after the test."""
    made: list[children.Child] = []

    def start(program: str) -> children.Child:
        child = children.Child(
            "worker",
            [sys.executable, "-c", program],
            log=tmp_path / "logs" / "worker.log",
            environment=dict(os.environ),
            folder=tmp_path,
        )
        made.append(child)
        child.start()
        return child

    yield start
    for child in made:
        child.stop()


def alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True, check=False).stdout
    return state.strip()[:1] not in ("", "Z")


def test_a_child_that_ended_is_started_again_and_its_last_words_are_told(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_RESTART_AFTER", 0.0)
    child = begin("print('no luck', flush=True); raise SystemExit(7)")
    wait_for(lambda: child.exit_code() == 7, what="the child to end")
    told: list[str] = []

    child.revive(tell=told.append)

    assert "worker ended with code 7" in told[0]
    assert "no luck" in told[0]
    wait_for(lambda: child.exit_code() == 7, what="the child to run once more")


def test_a_child_that_ends_at_once_is_not_started_in_a_circle(begin: Begin) -> None:
    child = begin("raise SystemExit(7)")
    wait_for(lambda: child.exit_code() == 7, what="the child to end")
    told: list[str] = []

    child.revive(tell=told.append)

    assert told == []
    assert child.exit_code() == 7


def test_a_running_child_is_left_alone(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_RESTART_AFTER", 0.0)
    child = begin("import sys; sys.stdin.read(); import threading; threading.Event().wait()")
    told: list[str] = []

    child.revive(tell=told.append)

    assert told == []
    assert child.exit_code() is None


STUBBORN = """
import signal, subprocess, sys, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
print(grandchild.pid, flush=True)
threading.Event().wait()
"""


def test_a_stop_ends_a_child_that_does_not_listen_and_all_that_it_started(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_PATIENCE", 0.2)
    child = begin(STUBBORN)
    grandchild = int(wait_for(child.said, what="the child to start its own"))
    assert alive(grandchild)

    child.stop()

    wait_for(lambda: not alive(grandchild), what="the grandchild to end")


def test_a_step_that_fails_tells_the_end_of_its_log(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "raise SystemExit('the table is missing')"]

    with pytest.raises(process.LaunchFailed, match=r"(?s)seed failed with code 1.*the table is missing"):
        children.run("seed", program, log=tmp_path / "log", environment=dict(os.environ), folder=tmp_path, tell=print)


def test_a_step_that_takes_long_says_that_it_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_STILL_AT_WORK", 0.1)
    go_on = tmp_path / "go-on"
    program = [sys.executable, "-c", "import pathlib\nwhile not pathlib.Path('go-on').exists(): pass"]
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        go_on.touch()

    children.run("seed", program, log=tmp_path / "log", environment=dict(os.environ), folder=tmp_path, tell=tell)

    assert told[0] == "seed is still at work …"


def test_the_port_of_the_last_start_comes_first(tmp_path: Path) -> None:
    kept = tmp_path / "web-port"
    port = process.free_port()
    kept.write_text(f"{port}\n")

    assert demo.choose_port(kept) == port


def test_a_taken_port_is_exchanged_for_a_free_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "is_free", lambda port: False)

    assert demo.choose_port(tmp_path / "web-port") not in (0, demo.USUAL_PORT)


PARENT = """
import os, sys
from pathlib import Path
from opsportal.local import children
here = Path(sys.argv[1])
idle = [sys.executable, "-c", "import os, threading; print(os.getpid(), flush=True); threading.Event().wait()"]
child = children.Child("worker", idle, log=here / "log", environment=dict(os.environ), folder=here)
child.start()
print("started", flush=True)
sys.stdin.read()
"""


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        pid = int(wait_for((tmp_path / "log").read_text, what="the child to say its id"))
        parent.send_signal(signal.SIGKILL)

    wait_for(lambda: not alive(pid), what="the child to follow its parent")
