"""The portal's side of the benchmark: the same actions and the same execution as in production, in this process."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from migrations_audit import dispatch
from migrations_audit.actions import rehearsals, runs
from migrations_audit.execution import observing, planning, rehearsing, running
from migrations_audit.models import AuditEvent, Environment, MigrationRun, Observation, Project, Target
from tests import people

WORKER = "worker bench"


@dataclass(frozen=True)
class Spent:
    """Seconds of one run: all of it, and the part between the start of the runner and its end."""

    whole: float
    child: float


class PortalSide:
    """One environment and one project; each measured database becomes a target."""

    def __init__(self, folder: Path, *, urls: Path) -> None:
        self._urls = urls
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
        name = f"bench-{secrets.token_hex(4)}"
        (self._urls / name).write_text(url)
        target = Target.objects.create(
            project=self._place.project,
            environment=Environment.objects.get(slug="bench"),
            slug=name,
            url_reference=f"file:{self._urls / name}",
        )
        return people.Place(self._place.environment, self._place.project, target, self._place.people)

    def run_to_verdict(self, url: str) -> Spent:
        """Plan, approve and start 003, then measure from the claim to the verdict."""
        run = self._started(url)
        begin = time.perf_counter()
        ended = running.execute_run(number=run.number, worker_name=WORKER)
        spent = time.perf_counter() - begin
        if ended is None or ended.verdict != "verified":
            raise RuntimeError(f"The benchmark's run was not verified: {ended and ended.sentence}")
        return Spent(whole=spent, child=_between_phases(run.number, "lock", "verify"))

    def rehearse(self, url: str) -> float:
        """Seconds in which a plan for 003 is rehearsed, from the claim of the rehearsal to its stored result."""
        run = self._planned(url)
        asked = rehearsals.ask(actor=self._place.actor("dba"), number=run.number)
        begin = time.perf_counter()
        ended = rehearsing.rehearse(rehearsal_id=asked.pk, worker_name=WORKER)
        spent = time.perf_counter() - begin
        if ended is None or not ended.has_passed:
            raise RuntimeError(f"The benchmark's rehearsal did not pass: {ended and ended.sentence}")
        return spent

    def click_to_verdict(self, url: str) -> tuple[float, float]:
        """Seconds from Run now to the claim, and to the verdict, with a worker process that takes the message from the broker."""
        run = self._started(url)
        give_up_at = time.monotonic() + 60
        while time.monotonic() < give_up_at:
            run.refresh_from_db()
            if run.finished_at and run.started_at and run.queued_at:
                if run.verdict != "verified":
                    raise RuntimeError(f"The benchmark's run was not verified: {run.sentence}")
                queued = run.queued_at
                return (run.started_at - queued).total_seconds(), (run.finished_at - queued).total_seconds()
            time.sleep(0.02)
        raise RuntimeError(f"The benchmark's run did not end: {run.sentence}")

    def _started(self, url: str) -> MigrationRun:
        run = self._planned(url)
        digest = run.plan.digest if run.plan else ""
        people.approve_by_all(self._place, run.number, digest)
        return runs.start(
            actor=self._place.actor("operator"), number=run.number, digest=digest, confirm=run.target.label
        )

    def _planned(self, url: str) -> MigrationRun:
        place = self.place(url)
        run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="003", reason="Benchmark.")
        if planning.plan_run(number=run.number, worker_name=WORKER) is None:
            raise RuntimeError("The benchmark's run was not planned.")
        return MigrationRun.objects.select_related("plan").get(number=run.number)

    def observe_fleet(self, urls: list[str], count: int) -> float:
        """Seconds in which the worker processes read ``count`` targets, woken as the sweep wakes them."""
        places = [self.place(urls[number % len(urls)]) for number in range(count)]
        newest = Observation.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        begin = time.perf_counter()
        for place in places:
            dispatch.after_commit(dispatch.Wake.OBSERVE, queue="target-bench", target_id=place.target.pk)
        wanted = {place.target.pk for place in places}
        while Observation.objects.filter(pk__gt=newest, target__in=wanted, catalog__isnull=False).count() < count:
            if time.perf_counter() - begin > 600:
                raise RuntimeError("The workers did not read all targets within ten minutes.")
            time.sleep(0.1)
        return time.perf_counter() - begin

    def observe(self, place: people.Place) -> None:
        """One observation, stored and audited."""
        observing.observe_target(target_id=place.target.pk, worker_name=WORKER)


def _between_phases(number: int, begin: str, end: str) -> float:
    events = AuditEvent.objects.filter(action="run.phase_entered", object_kind="run", object_id=str(number))
    at = {json.loads(event.body)["facts"]["phase"]: event.at for event in events}
    return float((at[end] - at[begin]).total_seconds())
