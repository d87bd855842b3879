"""How long a run should take: as the same files took elsewhere, else as on a copy, else nobody knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from migrations_audit import hashchain
from migrations_audit.actions import attempts
from migrations_audit.models import MigrationRun, Rehearsal
from migrations_audit.models.clock import database_now
from migrations_audit.queries import durations, live
from migrations_audit.queries.durations import AROUND_MS, PATIENCE, Expected
from migrations_audit.states import Outcome, StepState
from tests.domain import raw, rehearsed
from tests.people import Place, finish, make_place, make_run

pytestmark = pytest.mark.django_db

A_DAY = timedelta(days=1)


def took(place: Place, ms: int) -> MigrationRun:
    """A run that was applied there, its revision in so many milliseconds."""
    run = make_run(place, state="running")
    attempts.update_step(
        number=run.number,
        epoch=run.epoch,
        position=1,
        state=StepState.COMMITTED,
        duration_ms=ms,
        ended_at=run.started_at,
    )
    return finish(place, run)


def seer(place: Place) -> int:
    """Somebody who sees both environments."""
    return place.people["viewer"].pk


def both() -> tuple[Place, Place]:
    """Two environments with a target of the same project each."""
    staging = make_place(slug="staging", tier="staging")
    return staging, make_place(project=staging.project)


def edited(run: MigrationRun) -> MigrationRun:
    """The same run, planned from another file."""
    assert run.plan is not None
    (step,) = run.plan.steps
    run.plan.steps = [{**step, "sha256": hashchain.digest("another file")}]
    return run


def passed(place: Place, run: MigrationRun, **more: Any) -> Rehearsal:
    return rehearsed.ended(place, run, Outcome.PASSED, **({"steps": [rehearsed.STEP]} | more))


def test_the_same_file_elsewhere_is_the_best_that_is_known() -> None:
    staging, production = both()
    took(staging, 7_000)
    run = make_run(production, state="awaiting_approval")

    expected = durations.expected(run, passed(production, run), user_id=seer(production))

    assert expected == Expected(7_000, "as long as on market/staging/main")


def test_the_newest_verified_run_counts() -> None:
    staging, production = both()
    took(staging, 7_000)
    took(staging, 9_000)
    run = make_run(production, state="awaiting_approval")

    expected = durations.expected(run, None, user_id=seer(production))

    assert expected is not None
    assert expected.ms == 9_000


def test_another_file_of_the_same_revision_says_nothing() -> None:
    staging, production = both()
    took(staging, 7_000)

    assert (
        durations.expected(edited(make_run(production, state="awaiting_approval")), None, user_id=seer(production))
        is None
    )


def test_a_run_that_was_not_verified_says_nothing() -> None:
    staging, production = both()
    raw.put(took(staging, 7_000), verdict="unverified")

    assert durations.expected(make_run(production, state="awaiting_approval"), None, user_id=seer(production)) is None


def test_else_it_is_as_long_as_on_the_copy() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")
    rehearsal = passed(place, run, steps=[rehearsed.STEP, {**rehearsed.STEP, "ms": 30}])

    expected = durations.expected(run, rehearsal, user_id=seer(place))

    assert expected == Expected(42, "as long as on a copy without data; tables with rows take longer")


def of_sizes(*sizes: int | None, problem: str = "") -> dict[str, Any]:
    names = ("public.users", "public.orders", "public.alembic_version")
    relations = [{"name": name, "bytes": size} for name, size in zip(names, sizes, strict=False)]
    return {"impact": rehearsed.IMPACT | {"relations": relations, "problem": problem}}


@pytest.mark.parametrize(
    ("impact", "source"),
    [
        (of_sizes(8_192, 41_000_000, 8_192), "nothing is known about this much data (orders: 39.1\xa0MB)"),
        (of_sizes(None, 8_192), "nothing is known about the size of users, which could not be measured"),
        (of_sizes(None, 41_000_000), "nothing is known about this much data (orders: 39.1\xa0MB)"),
        (of_sizes(problem="No route."), "nothing is known about the sizes of the target's tables"),
    ],
)
def test_an_empty_copy_says_nothing_of_large_tables_and_no_run_is_long_by_it(
    impact: dict[str, Any], source: str
) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    expected = durations.expected(run, passed(place, run, **impact), user_id=seer(place))

    assert expected == Expected(12, source, is_of_copy_only=True)
    running = make_run(make_place(slug="staging", project=place.project), state="running")
    assert not expected.is_exceeded(running, now=database_now() + A_DAY)


def test_what_took_its_time_elsewhere_counts_for_large_tables_too() -> None:
    staging, production = both()
    took(staging, 7_000)
    run = make_run(production, state="awaiting_approval")
    rehearsal = passed(production, run, **of_sizes(41_000_000))

    assert durations.expected(run, rehearsal, user_id=seer(production)) == Expected(
        7_000, "as long as on market/staging/main"
    )


def test_a_copy_will_do_for_small_tables() -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    expected = durations.expected(run, passed(place, run, **of_sizes(durations.SMALL_BYTES)), user_id=seer(place))

    assert expected is not None
    assert not expected.is_of_copy_only


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.COULD_NOT_RUN])
def test_a_rehearsal_that_did_not_pass_says_nothing(outcome: Outcome) -> None:
    place = make_place()
    run = make_run(place, state="awaiting_approval")

    assert durations.expected(run, rehearsed.ended(place, run, outcome, steps=[rehearsed.STEP]), user_id=None) is None


def test_without_a_plan_nothing_is_expected() -> None:
    assert durations.expected(make_run(make_place()), None, user_id=None) is None


@pytest.mark.parametrize(("more_ms", "is_long"), [(-1_000, False), (1_000, True)])
def test_it_is_long_when_it_takes_clearly_longer(more_ms: int, is_long: bool) -> None:
    run = make_run(make_place(), state="running")
    assert run.started_at is not None
    expected = Expected(60_000, "")
    now = run.started_at + timedelta(milliseconds=60_000 * PATIENCE + AROUND_MS + more_ms)

    assert expected.is_exceeded(run, now=now) is is_long


def test_a_run_that_does_not_run_is_not_long() -> None:
    place = make_place()
    run = finish(place, make_run(place, state="running"))

    assert not Expected(1, "").is_exceeded(run, now=database_now() + timedelta(days=1))


def test_who_looks_often_asks_for_what_is_expected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[MigrationRun] = []

    def expected(run: MigrationRun, rehearsal: Rehearsal | None, *, user_id: int | None) -> Expected:
        asked.append(run)
        return Expected(1, "")

    monkeypatch.setattr(durations, "expected", expected)
    place = make_place()
    run = make_run(place, state="running")
    patience = live.Patience()

    soon, late = database_now(), database_now() + timedelta(hours=1)

    assert [patience.is_exceeded(run, user_id=None, now=now) for now in (soon, late, late)] == [False, True, True]
    assert len(asked) == 1
    assert not live.Patience().is_exceeded(finish(place, run), user_id=None, now=late)
    assert len(asked) == 1
