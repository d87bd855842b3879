"""Plays the stories: drivers in threads, and in the main thread the keeper of the processes and the servers."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from tests.chaos import crew as crews
from tests.chaos import driving, injecting, report, scene, totals
from tests.chaos.plan import RunPlan
from tests.chaos.stage import Stage

QUIET_S = 3.0
"""After the last run, before the targets are read for the last time: what works in the dark gets its chance."""


class Show:
    """One chaos. ``play`` is called from the thread that started the servers."""

    def __init__(self, *, stage: Stage, folder: Path, environment: dict[str, str], workers: int) -> None:
        self._stage = stage
        self._folder = folder
        self._crew = crews.Crew(workers=workers, folder=folder / "logs", environment=environment)
        self._attempts: list[driving.Attempt] = []
        self._broken: list[str] = []
        self._reporting = threading.Lock()
        self._began = time.monotonic()

    def play(
        self,
        stories: queue.SimpleQueue[Sequence[RunPlan]],
        *,
        drivers: int,
        patience_s: float,
        lease_s: float,
        seed: int,
    ) -> bool:
        """Play all stories, count, and print. True when everything is as it must be."""
        home = scene.set_up()
        watch = totals.LeaseWatch(lease_s=lease_s)
        injector = injecting.Injector(stage=self._stage, crew=self._crew)
        try:
            self._crew.keep()
            self._crew.wait_until_ready()
            threads = [
                threading.Thread(target=self._drive, args=(driver, stories), daemon=True)
                for driver in (
                    driving.Driver(
                        str(number),
                        stage=self._stage,
                        injector=injector,
                        home=home,
                        roots=self._folder / "projects",
                        patience_s=patience_s,
                    )
                    for number in range(drivers)
                )
            ]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                self._look_after(watch)
            quiet_until = time.monotonic() + QUIET_S
            while time.monotonic() < quiet_until:
                self._look_after(watch)
        finally:
            self._crew.stop()
        counted = totals.count(self._attempts, watch=watch, logs=self._crew.said(), secrets=self._secrets())
        counted.broken += self._broken
        print(report.tables(self._attempts))
        if not counted.clean:
            print(report.findings(counted))
        print(report.last_line(counted, runs=self.count, seed=seed, seconds=time.monotonic() - self._began))
        return counted.clean

    @property
    def count(self) -> int:
        """How many runs have ended, or were given up."""
        return len(self._attempts)

    def _look_after(self, watch: totals.LeaseWatch) -> None:
        self._stage.work(0.1)
        self._crew.keep()
        watch.look()

    def _drive(self, driver: driving.Driver, stories: queue.SimpleQueue[Sequence[RunPlan]]) -> None:
        try:
            driver.work(stories, self._report)
        except Exception as error:  # noqa: BLE001  (the outermost frame of this thread; the chaos has failed then)
            self._broken.append(f"a driver ended: {type(error).__name__}: {error}")

    def _report(self, attempt: driving.Attempt) -> None:
        with self._reporting:
            self._attempts.append(attempt)
            mark = "LOST " if attempt.lost else "WRONG" if attempt.wrong else "     "
            print(
                f"{time.monotonic() - self._began:7.1f} s {mark} {attempt.plan.index:>4} {attempt.plan.kind:<23} "
                f"{attempt.way.direction:<9} run {attempt.number:<4} {attempt.verdict:<24} {attempt.effect:<5} "
                f"{attempt.seconds:5.1f} s  {'; '.join(attempt.came)}",
                flush=True,
            )
            with (self._folder / "attempts.jsonl").open("a") as log:
                told = {
                    "plan": attempt.plan.index,
                    "faults": [str(fault) for fault in attempt.plan.faults],
                    "came": attempt.came,
                    "run": attempt.number,
                    "target": str(attempt.scene.place.target),
                    "verdict": attempt.verdict,
                    "sentence": attempt.sentence,
                    "effect": attempt.effect,
                    "wrong": attempt.wrong,
                }
                log.write(json.dumps(told) + "\n")

    def _secrets(self) -> dict[str, str]:
        servers = {name: urlsplit(url).password or "" for name, url in self._stage.environment.items()}
        targets = {str(attempt.scene.place.target): attempt.scene.password for attempt in self._attempts}
        passwords = {f"the password of {name}": password for name, password in {**servers, **targets}.items()}
        return {**passwords, "SECRET_KEY": settings.SECRET_KEY, "a sealing key": settings.PORTAL_SEALING_KEYS[0]}
