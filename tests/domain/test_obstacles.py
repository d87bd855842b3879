"""What keeps waiting runs from going on, in the few words of a list, and as much asked of the database for many as for one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migrations_audit import windows
from migrations_audit.actions import plans, rehearsals, runs
from migrations_audit.models import Environment, MigrationRun, Target
from migrations_audit.models.clock import database_now
from migrations_audit.queries import obstacles
from migrations_audit.states import Grade, Outcome
from tests import windowing
from tests.domain import rehearsed
from tests.people import WORKER, Place, make_draft, make_place, make_run, observe

pytestmark = pytest.mark.django_db

FINDING = {
    "code": "drop_column", "severity": "high", "place": "versions/003.py", "sentence": "It drops a column.", "advice": "Wait.",
}  # fmt: skip


def words(*runs: MigrationRun, blocked: tuple[int, ...] = ()) -> list[str]:
    """The words for each as a list reads them anew."""
    found = MigrationRun.objects.select_related("plan", "target__project", "target__environment")
    rows = list(found.filter(number__in=[run.number for run in runs]).order_by("number"))
    met = obstacles.of_runs(rows, blocked=blocked, now=database_now())
    return [met.get(run.number, "") for run in rows]


def found(place: Place, *findings: dict[str, str]) -> MigrationRun:
    """A run that waits for approval, in whose plan this was found."""
    run = runs.request(actor=place.actor("dev"), target_id=place.target.pk, revision="003", reason="Needed.")
    begun = plans.begin(actor=WORKER, number=run.number)
    draft = make_draft(place, findings=list(findings))
    plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=draft)
    return run


def beside(place: Place, slug: str) -> Place:
    """Another target of the same project there."""
    target = Target.objects.create(
        project=place.project, environment=place.environment, slug=slug, url_reference="env:X"
    )
    return Place(place.environment, place.project, target, place.people)


def policy(place: Place, **values: Any) -> None:
    Environment.objects.filter(pk=place.environment.pk).update(**values)


@pytest.mark.parametrize("state", ["awaiting_approval", "approved"])
def test_nothing_keeps_a_run_that_may_go_on(state: str) -> None:
    assert words(make_run(make_place(), state=state)) == [""]


def test_a_rehearsal_that_the_policy_demands() -> None:
    place = make_place(rehearsal="passed")
    run = make_run(place, state="awaiting_approval")

    before = words(run)
    taken = rehearsals.claim(actor=WORKER, rehearsal_id=run.rehearsals.get().pk)
    assert taken is not None
    rehearsals.finish(
        actor=WORKER, rehearsal_id=taken.pk, epoch=taken.epoch, result=rehearsed.result(Outcome.FAILED), deltas=[]
    )

    assert [*before, *words(run)] == ["waits for a rehearsal", "needs another rehearsal"]


def test_a_runbook_that_production_asks_for() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    rehearsed.ended(place, run, grade=Grade.LOSSY)

    assert words(run) == ["needs a runbook"]


def test_an_earlier_environment() -> None:
    staging = make_place(slug="staging", tier="staging")
    place = make_place(project=staging.project, requires_verified_in=staging.environment)

    assert words(make_run(place, state="awaiting_approval")) == ["not verified in Staging yet"]


def test_findings_that_the_policy_wants_accepted() -> None:
    place = make_place(findings_must_be_accepted="high")
    run = found(place, FINDING, {**FINDING, "place": "versions/004.py"}, {**FINDING, "severity": "low"})

    assert words(run) == ["2 findings to accept"]


def test_windows_a_freeze_another_run_and_a_time() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    at = database_now() + timedelta(hours=3)

    windowing.opens_in(place.environment, 3)
    (closed,) = words(run)
    windowing.frozen(place)
    (frozen,) = words(run)
    (busy,) = words(run, blocked=(place.target.pk,))
    MigrationRun.objects.filter(pk=run.pk).update(scheduled_at=at, scheduled_as={"name": "operator"})
    (timed,) = words(run)

    assert closed.startswith("window closed until ")
    assert (frozen, busy) == ("frozen", "another run is under way there")
    assert timed == f"starts at {at:%Y-%m-%d %H:%M} UTC"


def test_windows_do_not_keep_anybody_from_approving() -> None:
    place = make_place()
    windowing.closed(place.environment)

    assert words(make_run(place, state="awaiting_approval")) == [""]


def test_the_windows_are_worked_out_once_for_all_runs_that_may_last_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    place, asked, verdict = make_place(), [], windows.verdict
    windowing.closed(place.environment)
    waiting = [make_run(beside(place, f"t{number}"), state="approved") for number in range(3)]
    policy(place, deadline_s=120)
    waiting.append(make_run(beside(place, "shorter"), state="approved"))

    def counted(rules: list[windows.Window], *, now: datetime, lasts: timedelta) -> windows.Opening:
        asked.append(lasts)
        return verdict(rules, now=now, lasts=lasts)

    monkeypatch.setattr(windows, "verdict", counted)

    assert words(*waiting) == ["settings changed since it was planned"] * 3 + ["window closed"]
    assert asked == [timedelta(hours=1), timedelta(minutes=2)]


def test_many_runs_cost_as_many_queries_as_one() -> None:
    staging = make_place(slug="staging", tier="staging")
    place = make_place(project=staging.project)
    windowing.closed(place.environment)
    waiting = []
    for number in range(5):
        other = beside(place, f"t{number}")
        observe(other)
        waiting += [make_run(other, state="approved"), found(other, FINDING)]
    policy(place, requires_verified_in=staging.environment, findings_must_be_accepted="high", rehearsal="passed")

    with CaptureQueriesContext(connection) as one:
        words(*waiting[:2])
    with CaptureQueriesContext(connection) as many:
        assert words(*waiting) == ["settings changed since it was planned"] * 10

    assert len(many) == len(one)
