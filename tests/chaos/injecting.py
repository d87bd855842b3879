"""Makes one fault happen to one run. What has ended before its fault came is told so, and is no fault."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import redis
from celery import current_app
from django.db import DatabaseError

from migrations_audit.actions import runs
from migrations_audit.dispatch import Wake
from migrations_audit.errors import PortalError
from opsportal.local import postgres
from tests.chaos import crew as crews
from tests.chaos.plan import Fault, FaultKind
from tests.chaos.scene import QUEUE, Scene
from tests.chaos.stage import Stage

_OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'opsportal%' AND pid <> pg_backend_pid()"


class TooLate(Exception):
    """There was nothing left to do this to."""


@dataclass(frozen=True)
class Victim:
    """The run that a fault is for, as it was last seen. ``worker_pid`` is 0 while nobody has claimed it."""

    number: int
    worker_pid: int


def worker_pid(worker: str) -> int:
    """The pool child's process id out of a worker's name."""
    found = re.search(r"/(\d+)$", worker)
    return int(found[1]) if found else 0


class Injector:
    """Holds what faults act on. ``inject`` takes as long as the fault lasts, and undoes what it froze."""

    def __init__(self, *, stage: Stage, crew: crews.Crew) -> None:
        self._stage = stage
        self._crew = crew
        self._server_faults = threading.Lock()  # one server at a time is away
        self._pause = threading.Event()

    def inject(self, fault: Fault, victim: Victim, scene: Scene) -> None:
        """Make ``fault`` happen. Raises TooLate."""
        dice = random.Random(fault.dice)
        kind = fault.kind
        if kind in _PROCESSES:
            self._signal(kind, self._processes(kind, victim), fault.length_s)
        elif kind is FaultKind.WARM_STOP:
            main = self._main_of(self._child(victim))
            self._stage.ask(lambda: self._crew.retire(main))
        elif kind is FaultKind.REDELIVER:
            self._send_again(victim.number, dice)
        elif kind is FaultKind.GARBAGE:
            self._forge(victim.number, dice)
        elif kind is FaultKind.FLUSH:
            self._redis().flushall()
        elif kind is FaultKind.CANCEL:
            self._cancel(victim.number, scene)
        elif kind is FaultKind.TERMINATE:
            self._terminate(dice)
        elif kind is not FaultKind.NOTHING:
            with self._server_faults:
                self._disturb_server(kind, fault.length_s, dice)

    def _child(self, victim: Victim) -> int:
        if not victim.worker_pid or not crews.parent_of(victim.worker_pid):
            raise TooLate
        return victim.worker_pid

    def _main_of(self, child: int) -> int:
        main = crews.parent_of(child)
        if main not in self._crew.mains():  # a reused process id, or a worker that is leaving already
            raise TooLate
        return main

    def _processes(self, kind: FaultKind, victim: Victim) -> list[int]:
        child = self._child(victim)
        main = self._main_of(child)
        if kind in (FaultKind.KILL_CHILD, FaultKind.FREEZE_CHILD):
            return [child]
        if kind is FaultKind.KILL_MAIN:
            return [main]
        if kind is FaultKind.KILL_GROUP:
            return [pid for pid in (main, *crews.descendants(main)) if _group_of(pid) == main]
        if kind in (FaultKind.KILL_RUNNER, FaultKind.FREEZE_RUNNER):
            found = crews.runners_below(child)
            if not found:
                raise TooLate
            return found
        return [main, *crews.descendants(main)]

    def _signal(self, kind: FaultKind, pids: list[int], length_s: float) -> None:
        if kind not in (FaultKind.FREEZE_CHILD, FaultKind.FREEZE_RUNNER, FaultKind.FREEZE_HOST):
            _send(pids, signal.SIGKILL)
            return
        _send(pids, signal.SIGSTOP)
        self._pause.wait(length_s)
        _send(pids, signal.SIGCONT)

    def _send_again(self, number: int, dice: random.Random) -> None:
        for _ in range(dice.randint(2, 5)):
            wake = dice.choice([Wake.EXECUTE, Wake.EXECUTE, Wake.RECONCILE, Wake.PLAN])
            self._post(wake.value, {"number": number})

    def _forge(self, number: int, dice: random.Random) -> None:
        forgeries: list[Callable[[], object]] = [
            lambda: self._post(Wake.EXECUTE.value, {"number": 10**12}),
            lambda: self._post(Wake.EXECUTE.value, {"number": "1; DROP TABLE"}),
            lambda: self._post(Wake.EXECUTE.value, {"number": number, "epoch": 1, "force": True, "digest": "0" * 64}),
            lambda: self._post("migrations_audit.no_such_task", {"number": number}),
            lambda: self._post("os.system", {"command": "false"}),
            lambda: self._post(Wake.EXECUTE.value, {"number": number, "padding": "x" * 3_000_000}),
            lambda: self._post(Wake.RECONCILE.value, {}),
            lambda: self._raw(b"not a message"),
            lambda: self._raw(_envelope(b"\x80\x04garbage", "application/x-python-serialize")),
            lambda: self._raw(_envelope(b"{not json", "application/json")),
        ]
        for forge in dice.sample(forgeries, k=3):
            forge()

    def _post(self, task: str, ids: dict[str, object]) -> None:
        with suppress(Exception):  # the broker may be away; then nothing is sent
            current_app.send_task(task, kwargs=ids, queue=QUEUE, ignore_result=True)

    def _raw(self, message: bytes) -> None:
        with suppress(redis.RedisError):
            self._redis().lpush(QUEUE, message)

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self._stage.broker.url(), socket_timeout=3, socket_connect_timeout=3)

    def _cancel(self, number: int, scene: Scene) -> None:
        try:
            runs.cancel(actor=scene.place.actor("operator"), number=number)
        except (PortalError, DatabaseError) as error:
            raise TooLate from error

    def _terminate(self, dice: random.Random) -> None:
        """End one session of the portal's, on a target or on its own database."""
        server = self._stage.portal if dice.random() < 0.3 else self._stage.target
        with suppress(psycopg.OperationalError), psycopg.connect(server.url(), autocommit=True) as connection:
            pids = [row[0] for row in connection.execute(_OURS).fetchall()]
            if not pids:
                raise TooLate
            connection.execute("SELECT pg_terminate_backend(%s)", [dice.choice(sorted(pids))])

    def _disturb_server(self, kind: FaultKind, length_s: float, dice: random.Random) -> None:
        broker = self._stage.broker
        if kind is FaultKind.BROKER_FREEZE:
            os.kill(broker.pid, signal.SIGSTOP)
            self._pause.wait(length_s)
            os.kill(broker.pid, signal.SIGCONT)
        elif kind is FaultKind.BROKER_KILL:
            self._stage.ask(lambda: self._stage.crash(broker, signal.SIGKILL))
            self._pause.wait(length_s)
            self._stage.ask(broker.start)
        else:
            server = self._stage.portal if kind is FaultKind.PORTAL_RESTART else self._stage.target
            self._restart(server, dice.choice([signal.SIGQUIT, signal.SIGINT]), length_s)

    def _restart(self, server: postgres.Postgres, how: signal.Signals, length_s: float) -> None:
        self._stage.ask(lambda: self._stage.crash(server, how))
        self._pause.wait(length_s)
        self._stage.ask(server.start)


_PROCESSES = frozenset(
    {
        FaultKind.KILL_CHILD,
        FaultKind.KILL_MAIN,
        FaultKind.KILL_GROUP,
        FaultKind.KILL_HOST,
        FaultKind.KILL_RUNNER,
        FaultKind.FREEZE_CHILD,
        FaultKind.FREEZE_RUNNER,
        FaultKind.FREEZE_HOST,
    }
)
OF_THE_RUN = _PROCESSES | {FaultKind.WARM_STOP, FaultKind.CANCEL}
"""Faults that can only be meant for a run that has not ended."""


def _send(pids: Iterable[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def _group_of(pid: int) -> int:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return 0


def _envelope(body: bytes, content_type: str) -> bytes:
    """A message as kombu writes it, with a body that is none."""
    properties = {
        "correlation_id": "0",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": base64.b16encode(body).decode(),
    }
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": {"task": Wake.EXECUTE.value, "id": "0"},
            "properties": properties,
        }
    ).encode()
