"""Faults on real servers: the portal of the acceptance tests, with workers that die, freeze or stall where a test says so."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.fixtures import portal
from tests.acceptance.portal import Portal

__all__ = ["portal"]

StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def sound(portal: Portal) -> Portal:
    """The portal with at least one worker at work, which later tests may use as well."""
    if all(process.poll() is not None for process in portal.workers.processes):
        portal.workers.start()
    return portal


@pytest.fixture
def start_worker(portal: Portal) -> Iterator[StartWorker]:
    """Start a worker of this test alone, with environment variables of its own. No other one lives beside those of the test."""
    portal.workers.stop()

    def start(failpoints: str = "", **environment: str) -> subprocess.Popen[bytes]:
        return portal.workers.start(PORTAL_FAILPOINTS=failpoints, **environment)

    yield start
    for process in portal.workers.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
    portal.workers.stop()
