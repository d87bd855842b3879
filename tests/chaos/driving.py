"""Drives runs as people would: asks, approves, starts, and waits; meanwhile the run's faults come at their times."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psycopg
from django.db import DatabaseError, close_old_connections, connection

from migrations_audit.actions import approvals, audit, runs
from migrations_audit.errors import Conflict
from migrations_audit.models import MigrationRun
from migrations_audit.queries import leftovers
from migrations_audit.states import LIVE, TERMINAL, Operation, RunState
from tests import people
from tests.chaos import injecting, scene, truth
from tests.chaos.plan import Anchor, Fault, RunPlan
from tests.chaos.projects import KINDS
from tests.chaos.stage import Stage

T = TypeVar("T")
POLL_S = 0.1
REQUESTS = 5
_PHASES = {"execute": Anchor.EXECUTE, "verify": Anchor.VERIFY}
_LIVE = frozenset(state.value for state in LIVE)
_TERMINAL = frozenset(state.value for state in TERMINAL)


@dataclass
class Attempt:
    """One run, what was said of it and what was there. ``wrong`` is empty when both agree."""

    plan: RunPlan
    way: truth.Way
    scene: scene.Scene
    number: int = 0
    verdict: str = ""
    sentence: str = ""
    effect: str = ""
    wrong: str = ""
    lost: bool = False
    marks: dict[truth.Mark, int] = field(default_factory=dict)
    came: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Progress:
    """What the driver last saw of a run, for the threads of its faults."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reached: set[Anchor] = set()
        self.worker = ""
        self.over = False

    def see(self, *, state: str, phase: str, worker: str, over: bool) -> None:
        """Take note. An anchor that was passed between two looks counts as reached."""
        reached = {Anchor.REQUESTED}
        if state in _LIVE:
            reached.add(Anchor.QUEUED)
        if state == RunState.RUNNING:
            reached.add(Anchor.CLAIMED)
        if phase in _PHASES:
            reached |= {Anchor.EXECUTE, _PHASES[phase]}
        with self._changed:
            self._reached |= reached
            self.worker, self.over = worker, over
            self._changed.notify_all()

    def wait_for(self, anchor: Anchor) -> bool:
        """Wait until ``anchor`` was reached; False when the run ended without it."""
        with self._changed:
            self._changed.wait_for(lambda: anchor in self._reached or self.over)
            return anchor in self._reached


class Driver:
    """Drives one story after the other, each on a database of its own. One a thread."""

    def __init__(
        self,
        name: str,
        *,
        stage: Stage,
        injector: injecting.Injector,
        home: people.Place,
        roots: Path,
        patience_s: float,
    ) -> None:
        self._name = name
        self._stage = stage
        self._injector = injector
        self._home = home
        self._roots = roots
        self._patience_s = patience_s
        self._databases = 0

    def work(self, stories: queue.SimpleQueue[Sequence[RunPlan]], report: Callable[[Attempt], None]) -> None:
        """Take stories until there is none left."""
        try:
            while True:
                try:
                    story = stories.get_nowait()
                except queue.Empty:
                    return
                self._tell(story, report)
        finally:
            connection.close()

    def _tell(self, story: Sequence[RunPlan], report: Callable[[Attempt], None]) -> None:
        stands: scene.Scene | None = None
        for plan in story:
            stands = stands or self._build(plan)
            attempt = self._run(plan, stands)
            report(attempt)
            if attempt.effect not in (truth.Effect.ALL, truth.Effect.NONE) or attempt.verdict in leftovers.CODES:
                stands = None  # nobody plans on top of a half; the next run of the story gets a fresh database

    def _build(self, plan: RunPlan) -> scene.Scene:
        self._databases += 1
        name = f"chaos_{self._name}_{self._databases}"
        kind = KINDS[plan.kind]
        return patiently(
            lambda: scene.build(name, kind, stage=self._stage, home=self._home, roots=self._roots), within=120
        )

    def _run(self, plan: RunPlan, stands: scene.Scene) -> Attempt:
        found = patiently(lambda: truth.read(stands.url), within=120)
        attempt = Attempt(plan, stands.way(found, plan.back_to), stands)
        began = time.monotonic()
        for _ in range(REQUESTS):
            self._once(attempt)
            if attempt.verdict != "plan_failed" or attempt.wrong:
                break
        attempt.seconds = time.monotonic() - began
        return attempt

    def _once(self, attempt: Attempt) -> None:
        attempt.number = self._request(attempt)
        progress = Progress()
        threads = [
            threading.Thread(target=self._fault, args=(attempt, fault, progress), daemon=True)
            for fault in attempt.plan.faults
        ]
        for thread in threads:
            thread.start()
        run = self._follow(attempt, progress)
        for thread in threads:
            thread.join()
        attempt.lost = run.state not in _TERMINAL
        attempt.verdict = label(run)
        attempt.sentence = run.sentence
        found = patiently(lambda: truth.read(attempt.scene.url), within=120)
        attempt.marks = found.of_run(run.number)
        attempt.effect = truth.effect(attempt.way, run.number, found)
        attempt.wrong = "" if attempt.lost else truth.fault_in(attempt.verdict, attempt.way, run.number, found)

    def _request(self, attempt: Attempt) -> int:
        up = attempt.way.direction == "upgrade"
        place = attempt.scene.place

        def ask() -> int:
            try:
                return runs.request(
                    actor=place.actor("dev"),
                    target_id=place.target.pk,
                    revision="head" if up else attempt.way.result or "base",
                    reason=f"Chaos, run {attempt.plan.index}.",
                    operation=Operation.UPGRADE if up else Operation.ROLLBACK,
                ).number
            except runs.AlreadyRequested:  # the answer of an earlier attempt was lost, not the request
                return MigrationRun.objects.open().filter(target=place.target).latest("number").number

        return patiently(ask, within=120)

    def _follow(self, attempt: Attempt, progress: Progress) -> MigrationRun:
        """Bring the run from each state to the next until it has ended, or until patience ends."""
        pause = threading.Event()
        give_up_at = time.monotonic() + self._patience_s
        while True:
            run = patiently(lambda: MigrationRun.objects.select_related("plan").get(number=attempt.number), within=120)
            over = run.state in _TERMINAL or time.monotonic() >= give_up_at
            progress.see(state=run.state, phase=run.phase, worker=run.worker, over=over)
            if over:
                return run
            if run.state in (RunState.AWAITING_APPROVAL, RunState.APPROVED):
                patiently(functools.partial(self._push, attempt, run), within=120)
            pause.wait(POLL_S)

    def _push(self, attempt: Attempt, run: MigrationRun) -> None:
        """Approve, or start. A conflict means that an earlier attempt was stored though its answer was lost."""
        assert run.plan is not None
        place, number, digest = attempt.scene.place, run.number, run.plan.digest
        if run.state == RunState.APPROVED:
            _unless_there(
                lambda: runs.start(
                    actor=place.actor("operator"), number=number, digest=digest, confirm=run.target.label
                )
            )
            return
        for actor in (place.actor("dba"), place.actor("owner")):
            _unless_there(
                functools.partial(approvals.approve, actor=actor, number=number, digest=digest, comment="Read.")
            )

    def _fault(self, attempt: Attempt, fault: Fault, progress: Progress) -> None:
        try:
            if not progress.wait_for(fault.anchor):
                raise injecting.TooLate
            threading.Event().wait(fault.delay_s)
            victim = injecting.Victim(attempt.number, injecting.worker_pid(progress.worker))
            if progress.over and fault.kind in injecting.OF_THE_RUN:
                raise injecting.TooLate
            self._injector.inject(fault, victim, attempt.scene)
            attempt.came.append(str(fault.kind))
        except injecting.TooLate:
            attempt.came.append(f"{fault.kind}, too late")
        finally:
            connection.close()


def label(run: MigrationRun) -> str:
    """One word for how a run ended; for a failed one its reason."""
    if run.state == RunState.APPLIED:
        return str(run.verdict)
    return run.reason_code if run.state == RunState.FAILED else str(run.state)


def patiently(act: Callable[[], T], *, within: float) -> T:
    """Do it as a person would who tries again while a database is away. The last error is raised when time is over."""
    give_up_at = time.monotonic() + within
    pause = threading.Event()
    while True:
        try:
            close_old_connections()
            return act()
        except (DatabaseError, psycopg.Error, audit.AuditUnavailable):
            connection.close()
            if time.monotonic() >= give_up_at:
                raise
            pause.wait(0.3)


def _unless_there(act: Callable[[], object]) -> None:
    try:
        act()
    except Conflict:
        return
