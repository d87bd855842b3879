"""How long a run should take, from verified runs with the same files that the person may see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from migrations_audit.actions import attempts, plans, runs
from migrations_audit.models import MigrationRun, Role, Target
from migrations_audit.queries import durations
from migrations_audit.states import StepState
from tests.domain import rehearsed
from tests.people import WORKER, Place, add_person, finish, make_draft, make_place, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def production() -> Place:
    return make_place()


@pytest.fixture
def staging(production: Place) -> Place:
    """Beside it, with somebody who sees nothing else."""
    place = make_place(slug="staging", tier="staging", project=production.project)
    add_person(place, "guest", (Role.VIEWER, ""))
    return place


def verified(place: Place, *ms: int) -> None:
    """Runs of 003 there, one after the other, that were verified and took so long."""
    for each in ms:
        run = make_run(place, state="running")
        attempts.update_step(
            number=run.number, epoch=run.epoch, position=1, state=StepState.COMMITTED, duration_ms=each
        )
        finish(place, run)


def another_target(place: Place, slug: str) -> Place:
    target = Target.objects.create(
        project=place.project, environment=place.environment, slug=slug, url_reference="env:X"
    )
    return replace(place, target=target)


def told(place: Place, run: MigrationRun, name: str) -> tuple[int, str] | None:
    """What this person reads of it."""
    rehearsal = run.rehearsals.order_by("-pk").first()
    found = durations.expected(run, rehearsal, user_id=place.people[name].pk)
    return (found.ms, found.source) if found is not None else None


def test_it_takes_as_long_as_the_newest_verified_run_with_the_same_files(production: Place, staging: Place) -> None:
    verified(production, 90, 70)

    assert told(staging, make_run(staging, state="awaiting_approval"), "dev") == (
        70,
        "as long as on market/production/main",
    )


def test_what_a_person_may_not_see_is_not_compared(production: Place, staging: Place) -> None:
    verified(production, 70)
    run = make_run(staging, state="awaiting_approval")

    unknown = told(staging, run, "guest")
    rehearsal = rehearsed.shown(run)

    assert unknown is None
    ms = sum(step["ms"] for step in rehearsal.steps)
    assert told(staging, run, "guest") == (ms, "as long as on a copy without data; tables with rows take longer")


def test_another_file_is_not_compared(production: Place, staging: Place) -> None:
    verified(production, 70)
    run = runs.request(actor=staging.actor("dev"), target_id=staging.target.pk, revision="003", reason="Needed.")
    begun = plans.begin(actor=WORKER, number=run.number)
    draft = make_draft(staging)
    edited = replace(draft, steps=[{**step, "sha256": "e" * 64} for step in draft.steps])
    plans.record(actor=WORKER, number=run.number, epoch=begun.epoch, draft=edited)
    run.refresh_from_db()

    assert told(staging, run, "dev") is None


def test_only_the_newest_runs_are_looked_at_and_in_two_queries(
    production: Place, staging: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durations, "NEWEST", 3)
    for number in range(5):
        verified(another_target(production, f"t{number}"), 70 + number)
    run = make_run(staging, state="awaiting_approval")

    with CaptureQueriesContext(connection) as asked:
        found = told(staging, run, "dev")

    assert found == (74, "as long as on market/production/t4")
    looked, read = [query["sql"] for query in asked if "_runstep" in query["sql"]]
    assert "LIMIT 3" in looked
    assert not any(heavy in looked for heavy in ('plan"."sql"', 'plan"."body"', 'plan"."findings"'))
    assert "_plan" not in read
