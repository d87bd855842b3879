"""A Celery application with the portal's broker settings and its listening step, for test_listening.py to start a worker of."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

from opsportal import listening

listening.LOOK_EVERY_S = 0.5  # type: ignore[misc]  # the test would wait for nothing else

app = Celery("listener", broker=os.environ["REDIS_URL"])
app.conf.update(worker_prefetch_multiplier=1, task_ignore_result=True, worker_enable_remote_control=False)
app.steps["consumer"].add(listening.Listening)


@app.task(name="hold")
def hold(begun: str, until: str) -> None:
    """Say that it has begun, and keep the only place of the worker until a file appears."""
    Path(begun).touch()
    while not Path(until).exists():
        time.sleep(0.05)


@app.task(name="mark")
def mark(path: str) -> None:
    """Leave a sign that this was executed."""
    Path(path).touch()
