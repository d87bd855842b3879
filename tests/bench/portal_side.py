"""The portal's side of the benchmark: the same actions and the same execution as in production, in this process."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from migrations_audit.actions import runs
from migrations_audit.execution import observing, planning, running
from migrations_audit.models import Environment, Project, Target
from tests import people

WORKER = "worker bench"


class PortalSide:
    """One environment and one project; each measured database becomes a target."""

    def __init__(self, folder: Path) -> None:
        project = Project.objects.create(
            slug="marketedge",
            name="MarketEdge",
            folder=str(folder),
            url_delivery="environment",
            url_delivery_name="DATABASE_URL",
        )
        self._place = people.make_place(slug="bench", project=project)

    def place(self, url: str) -> people.Place:
        """A target for this database."""
        name = f"BENCH_{secrets.token_hex(4)}"
        os.environ[name] = url
        target = Target.objects.create(
            project=self._place.project,
            environment=Environment.objects.get(slug="bench"),
            slug=name.lower().replace("_", "-"),
            url_reference=f"env:{name}",
        )
        return people.Place(self._place.environment, self._place.project, target, self._place.people)

    def run_to_verdict(self, url: str) -> float:
        """Plan and approve 003, then measure from the claim to the verdict, in seconds."""
        place = self.place(url)
        run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="003", reason="Benchmark.")
        plan = planning.plan_run(number=run.number, worker_name=WORKER)
        if plan is None:
            raise RuntimeError("The benchmark's run was not planned.")
        people.approve_by_all(place, run.number, plan.digest)
        runs.start(actor=place.actor("operator"), number=run.number, digest=plan.digest)
        begin = time.perf_counter()
        ended = running.execute_run(number=run.number, worker_name=WORKER)
        spent = time.perf_counter() - begin
        if ended is None or ended.verdict != "verified":
            raise RuntimeError(f"The benchmark's run was not verified: {ended and ended.sentence}")
        return spent

    def observe(self, place: people.Place) -> None:
        """One observation, stored and audited."""
        observing.observe_target(target_id=place.target.pk, worker_name=WORKER)
