"""A worker whose broker died while all its places were taken hears again when the broker is back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from opsportal.local import process, valkey
from tests.acceptance.portal import ROOT
from tests.waiting import wait_for


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[valkey.Valkey]:
    """A broker of this test alone, always at one port."""
    with valkey.Valkey(tmp_path / "valkey", port=process.free_port()) as server:
        yield server


@pytest.fixture
def worker(broker: valkey.Valkey, tmp_path: Path) -> Iterator[Path]:
    """The log of a worker with one place."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.acceptance.listener_app", "worker", "-c", "1", "-l", "INFO"]
    with log.open("wb") as output:
        running = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": broker.url()},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    wait_for(lambda: "ready." in log.read_text(), within=60, what="the worker")
    yield log
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


@pytest.mark.slow
def test_a_worker_that_could_not_acknowledge_takes_messages_again(
    broker: valkey.Valkey, worker: Path, tmp_path: Path
) -> None:
    app = Celery("sender", broker=broker.url(), set_as_current=False)
    begun, until, after = tmp_path / "begun", tmp_path / "until", tmp_path / "after"
    app.send_task("hold", args=[str(begun), str(until)])
    wait_for(begun.exists, what="the only place to be taken")
    app.send_task("mark", args=[str(tmp_path / "waiting")])
    wait_for(lambda: worker.read_text().count("received") == 2, what="a second message to wait for the place")
    os.kill(broker.pid, signal.SIGKILL)
    wait_for(lambda: not broker.is_running(), what="the broker to be gone")
    until.touch()
    wait_for(lambda: "Couldn't ack" in worker.read_text(), what="the second message not to be acknowledged")

    broker.start()
    app.send_task("mark", args=[str(after)])

    wait_for(after.exists, within=40, what=f"the message after the broker's return; the worker said {worker}")
