"""Runs start inside a window and nowhere else: Run now, the claim, and the settings of the windows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from migrations_audit.access import MissingScope
from migrations_audit.actions import approvals, attempts, registry, registry_windows, runs, schedules, sweeps
from migrations_audit.actions.openings import WindowClosed
from migrations_audit.actions.registry_entries import NoSuchEntry
from migrations_audit.actions.registry_rights import MayNotRegister
from migrations_audit.errors import Invalid
from migrations_audit.models import Environment, MigrationRun, Window
from migrations_audit.models.clock import database_now
from migrations_audit.queries import bound
from migrations_audit.states import Operation
from tests import windowing
from tests.domain import registering, trail
from tests.people import WORKER, Place, add_person, make_place, make_run

pytestmark = pytest.mark.django_db

NIGHTLY: dict[str, Any] = {
    "kind": "allow",
    "cron": "0 22 * * 1-5",
    "duration_minutes": 240,
    "time_zone": "Europe/Zurich",
    "description": "nightly",
}


def start(place: Place, run: MigrationRun) -> MigrationRun:
    assert run.plan is not None
    return runs.start(
        actor=place.actor("operator"), number=run.number, digest=run.plan.digest, confirm=run.target.label
    )


def test_run_now_is_refused_where_no_window_is_open_and_the_sentence_names_the_next_opening() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    windowing.opens_in(place.environment, 3)

    with pytest.raises(WindowClosed) as refused:
        start(place, run)

    assert refused.value.code == "window_closed"
    assert refused.value.opens_at is not None
    assert timedelta(hours=2, minutes=59) <= refused.value.opens_at - database_now() <= timedelta(hours=3)
    opens = refused.value.opens_at
    assert refused.value.message == (
        f"Run {run.number} on market/production/main does not start in Production. Closed: no window is open. "
        f"The next opening is {opens:%a} {opens:%Y-%m-%d %H:%M} UTC."
    )
    run.refresh_from_db()
    assert (run.state, trail.of_run(run)[-1]) == ("approved", "run.approved")


def test_a_window_that_denies_wins_over_one_that_allows() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    windowing.opened(place.environment)
    windowing.closed(place.environment)

    with pytest.raises(WindowClosed, match="Closed by the closing window “month end” until"):
        start(place, run)


def test_a_run_starts_inside_a_window() -> None:
    place = make_place()
    windowing.opened(place.environment)

    assert start(place, make_run(place, state="approved")).state == "queued"


def test_the_windows_of_another_environment_do_not_count() -> None:
    place = make_place()
    other = Environment.objects.create(slug="staging", name="Staging", tier="staging", queue="target-staging")
    windowing.closed(other)

    assert start(place, make_run(place, state="approved")).state == "queued"


def test_a_run_does_not_start_in_a_window_that_its_deadline_would_outlast() -> None:
    place = make_place(deadline_s=3_600)
    run = make_run(place, state="approved")
    window = windowing.opened(place.environment, overrun=False)

    with pytest.raises(WindowClosed, match="a run may last 1 h, and the window “always” ends"):
        start(place, run)

    Window.objects.filter(pk=window.pk).update(overrun=True)
    assert start(place, run).state == "queued"


def test_a_rollback_waits_for_the_same_windows() -> None:
    place = make_place()
    run = make_run(place, state="approved", operation=Operation.ROLLBACK, revision="base")
    windowing.closed(place.environment)

    with pytest.raises(WindowClosed):
        start(place, run)


def test_a_queued_run_whose_window_has_closed_is_put_back_to_approved_and_says_why() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    windowing.opens_in(place.environment, 3)

    found = attempts.claim(actor=WORKER, number=run.number)

    found.refresh_from_db()
    assert (found.state, found.reason_code, found.epoch) == ("approved", "window_closed", run.epoch)
    assert (found.queued_at, found.queued_by_name, found.dispatched_at, found.dispatch_count) == (None, "", None, 0)
    assert found.sentence.startswith("Put back before anything was touched.")
    assert "The next opening is" in found.sentence
    assert found.sentence.endswith("Press Run now once it is open, or schedule it.")
    event = trail.last("run.put_back")
    assert (event.facts["facts"]["code"], event.facts["actor"]["name"]) == ("window_closed", WORKER.name)


def test_a_window_that_cannot_be_read_any_more_lets_nothing_start_and_does_not_stop_the_sweep() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    assert run.plan is not None
    schedules.schedule(
        actor=place.actor("operator"),
        number=run.number,
        digest=run.plan.digest,
        at=database_now() + timedelta(hours=1),
        confirm=run.target.label,
    )
    MigrationRun.objects.filter(number=run.number).update(scheduled_at=database_now())
    windowing.opened(place.environment, time_zone="Europe/Abolished")

    with pytest.raises(WindowClosed, match=r"cannot be read, so it counts as closed\. Name a time zone"):
        start(place, run)
    assert sweeps.sweep(actor=WORKER)

    run.refresh_from_db()
    assert (run.state, run.reason_code, run.scheduled_at) == ("approved", "window_closed", None)


def test_a_run_that_was_put_back_is_not_claimable_and_starts_again_by_run_now() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    window = windowing.closed(place.environment)
    attempts.claim(actor=WORKER, number=run.number)

    with pytest.raises(attempts.NotClaimable):
        attempts.claim(actor=WORKER, number=run.number)
    window.delete()

    assert start(place, run).state == "queued"
    assert attempts.claim(actor=WORKER, number=run.number).state == "running"


def test_a_run_that_was_put_back_leaves_its_target_to_others_and_can_be_un_approved() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    window = windowing.closed(place.environment)
    attempts.claim(actor=WORKER, number=run.number)
    window.delete()

    approvals.take_back(actor=place.actor("dba"), number=run.number)

    run.refresh_from_db()
    assert run.state == "awaiting_approval"
    assert start(place, make_run(place, state="approved", revision="003")).state == "queued"


def test_what_voids_a_run_is_said_before_what_closes_it() -> None:
    place = make_place()
    run = make_run(place, state="queued")
    windowing.closed(place.environment)
    Environment.objects.filter(pk=place.environment.pk).update(lock_timeout_ms=60_000)

    assert attempts.claim(actor=WORKER, number=run.number).state == "void"


def test_a_change_of_windows_voids_no_approval() -> None:
    place = make_place()
    run = make_run(place, state="approved")
    assert run.plan is not None
    before = bound.parts(run.target)
    window = registry_windows.save(actor=registering.superuser(), environment=place.environment, **NIGHTLY)

    assert bound.parts(run.target) == before
    window.delete()
    assert start(place, run).state == "queued"
    assert attempts.claim(actor=WORKER, number=run.number).state == "running"


# The settings


def test_a_superuser_adds_changes_and_removes_a_window_and_the_audit_tells_it() -> None:
    place, root = make_place(), registering.superuser()

    window = registry_windows.save(actor=root, environment=place.environment, **NIGHTLY)
    created = trail.last("window.created")
    assert (created.environment, created.object_id) == ("production", str(window.pk))
    assert created.facts["facts"]["settings"]["cron"] == "0 22 * * 1-5"

    registry_windows.save(actor=root, window_id=window.pk, duration_minutes=300)
    facts = trail.last("window.changed").facts["facts"]
    assert facts["changed"] == {"duration_minutes": {"old": 240, "new": 300}}
    assert facts["sentence"] == ("Runs may start in Production for 300 min from 0 22 * * 1-5 Europe/Zurich (nightly)")

    registry_windows.remove(actor=root, window_id=window.pk)
    assert trail.last("window.removed").facts["facts"]["settings"]["duration_minutes"] == 300
    assert not Window.objects.exists()


def test_a_holder_of_the_permission_may_and_the_environments_own_people_may_not() -> None:
    place = make_place()
    keeper = add_person(place, "keeper")
    place.people["keeper"].user_permissions.add(Permission.objects.get(codename="add_window"))

    registry_windows.save(actor=keeper, environment=place.environment, **NIGHTLY)

    for name in ("admin", "operator", "dba", "outsider"):
        with pytest.raises(MayNotRegister, match="may not add windows of Production"):
            registry_windows.save(actor=place.actor(name), environment=place.environment, **NIGHTLY)
        trail.denied(verb="registry_windows.save", code="may_not_register")
    with pytest.raises(MayNotRegister, match="may not delete windows"):
        registry_windows.remove(actor=keeper, window_id=Window.objects.get().pk)
    with pytest.raises(MissingScope):
        registry_windows.save(actor=place.token("keeper", "run"), environment=place.environment, **NIGHTLY)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"cron": "0 22 * *"}, "cron", "five fields"),
        ({"cron": "61 * * * *"}, "cron", "cannot be read: Bad minute"),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "Europe/Zurich"),
        ({"duration_minutes": 0}, "duration_minutes", "greater than or equal to 1"),
        ({"duration_minutes": 44_641}, "duration_minutes", "less than or equal to 44640"),
        ({"overrun": False, "duration_minutes": 60}, "overrun", "none could ever start"),
        ({"kind": "sometimes"}, "kind", "not a valid choice"),
        ({"description": "nightly\nforged"}, "description", "one line"),
        ({"environment": None}, "environment", "Name the environment"),
        ({"settings_version": 2}, "settings_version", "not a field"),
    ],
)
def test_a_window_that_cannot_work_is_refused_with_a_sentence(change: dict[str, Any], field: str, words: str) -> None:
    place, root = make_place(), registering.superuser()
    values = {"environment": place.environment, **NIGHTLY, **change}

    with pytest.raises(Invalid, match=words) as refused:
        registry_windows.save(actor=root, **values)

    assert refused.value.field == field
    assert not Window.objects.exists()


def test_a_window_stays_in_its_environment_and_its_number_is_bounded() -> None:
    place, root = make_place(), registering.superuser()
    window = registry_windows.save(actor=root, environment=place.environment, **NIGHTLY)
    other = Environment.objects.create(slug="staging", name="Staging", tier="staging", queue="target-staging")

    with pytest.raises(Invalid, match="stays in its environment"):
        registry_windows.save(actor=root, window_id=window.pk, environment=other)
    Window.objects.bulk_create(Window(environment=place.environment, **NIGHTLY) for _ in range(49))
    with pytest.raises(Invalid, match="has 50 windows"):
        registry_windows.save(actor=root, environment=place.environment, **NIGHTLY)


def test_a_window_is_removed_once() -> None:
    place, root = make_place(), registering.superuser()
    window = registry_windows.save(actor=root, environment=place.environment, **NIGHTLY)
    registry_windows.remove(actor=root, window_id=window.pk)

    with pytest.raises(NoSuchEntry):
        registry_windows.remove(actor=root, window_id=window.pk)


def test_an_environment_goes_with_its_windows_and_the_audit_names_them() -> None:
    root = registering.superuser()
    environment = registry.save_environment(actor=root, **registering.ENVIRONMENT)
    registry_windows.save(actor=root, environment=environment, **NIGHTLY)

    registry.remove_environment(actor=root, environment_id=environment.pk)

    assert trail.last("environment.removed").facts["facts"]["windows"] == [
        "Runs may start in Staging for 240 min from 0 22 * * 1-5 Europe/Zurich (nightly)"
    ]
