"""Celery's face: take the ids, make one call, return. Running a task twice does nothing the second time."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import shared_task
from celery.signals import heartbeat_sent, worker_init, worker_process_init, worker_ready, worker_shutting_down
from django.db import DatabaseError, connection

from migrations_audit import actors
from migrations_audit.actions import sweeps
from migrations_audit.engine import folders
from migrations_audit.errors import NotFound
from migrations_audit.execution import observing, places, planning, reconciling, rehearsing, running, spool
from migrations_audit.models import Target

logger = logging.getLogger(__name__)

SIGN_OF_LIFE_S = 10.0
SWEEP_FOLDERS_S = 600.0


def worker_name() -> str:
    """This worker for people: host and process id, and behind it the id of the pool process where this is one."""
    name = f"worker {socket.gethostname()}/{os.getpid() if _pool_of is None else _pool_of}"
    return name if _pool_of is None else f"{name}/{os.getpid()}"


_pool_of: int | None = None
"""The worker whose pool process this is."""


@worker_process_init.connect
def remember_the_worker(**_: Any) -> None:
    """A run names its process and its worker, so that it can be told when that worker is asked to end."""
    global _pool_of
    _pool_of = os.getppid()


@contextmanager
def _known_subject() -> Iterator[None]:
    """The portal names only what is committed, so a message about nothing was made by somebody else; the action records that."""
    try:
        yield
    except (NotFound, Target.DoesNotExist) as error:
        logger.warning("A message about something that does not exist: %s", error)


@shared_task(name="migrations_audit.plan_run")
def plan_run(*, number: int, **_: Any) -> None:
    with _known_subject():
        planning.plan_run(number=number, worker_name=worker_name())


@shared_task(name="migrations_audit.execute_run")
def execute_run(*, number: int, **_: Any) -> None:
    with _known_subject():
        running.execute_run(number=number, worker_name=worker_name())


@shared_task(name="migrations_audit.reconcile_run")
def reconcile_run(*, number: int, **_: Any) -> None:
    with _known_subject():
        reconciling.reconcile_run(number=number, worker_name=worker_name())


@shared_task(name="migrations_audit.observe_target")
def observe_target(*, target_id: int, **_: Any) -> None:
    with _known_subject():
        observing.observe_target(target_id=target_id, worker_name=worker_name())


@shared_task(name="migrations_audit.rehearse")
def rehearse(*, rehearsal_id: int, **_: Any) -> None:
    with _known_subject():
        rehearsing.rehearse(rehearsal_id=rehearsal_id, worker_name=worker_name())


@shared_task(name="migrations_audit.sweep")
def sweep(**_: Any) -> None:
    sweeps.sweep(actor=actors.worker(f"sweep on {socket.gethostname()}"))


class _SignOfLife:
    """Tells the portal which queues a worker consumes, at most once in ``SIGN_OF_LIFE_S``."""

    def __init__(self) -> None:
        self.queues: list[str] = []
        self.told_at = 0.0
        self.swept_at = -SWEEP_FOLDERS_S
        self.is_ending = False

    def give(self) -> None:
        if self.is_ending or time.monotonic() - self.told_at < SIGN_OF_LIFE_S:
            return
        self.told_at = time.monotonic()
        if self.told_at - self.swept_at >= SWEEP_FOLDERS_S:
            self.swept_at = self.told_at
            # Every worker for its own machine, beside its work: what a killed process left may be large.
            threading.Thread(target=folders.sweep, name="folders", daemon=True).start()
        try:
            sweeps.see_worker(name=worker_name(), queues=self.queues)
            spool.deliver(actor=actors.worker(worker_name()))
        except DatabaseError:
            connection.close()


_sign_of_life = _SignOfLife()


@worker_init.connect
def say_isolation(**_: Any) -> None:
    """Try the levels once, before the pool is forked, so that the log begins with what keeps migrations apart here."""
    places.log_isolation()


@worker_ready.connect
def begin_signs_of_life(sender: Any, **_: Any) -> None:
    _sign_of_life.queues = sorted(sender.task_consumer.queues and [queue.name for queue in sender.task_consumer.queues])
    _sign_of_life.give()


@heartbeat_sent.connect
def go_on_with_signs_of_life(**_: Any) -> None:
    _sign_of_life.give()


@worker_shutting_down.connect
def say_that_it_ends(**_: Any) -> None:
    """Asked to end: the runs under way say so. From a thread, since a signal may come between two words of a query."""
    _sign_of_life.is_ending = True
    threading.Thread(target=_note_the_end, name="worker-ending").start()


def _note_the_end() -> None:
    try:
        sweeps.see_worker_ending(name=worker_name())
    except DatabaseError as error:
        logger.warning("The portal was not told that this worker ends (%s).", type(error).__name__)
    finally:
        connection.close()
