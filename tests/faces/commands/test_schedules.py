"""Scheduling a run and freezing the portal from a shell."""

from __future__ import annotations

from datetime import timedelta

from migrations_audit.models import Freeze, MigrationRun
from migrations_audit.models.clock import database_now
from tests import people, windowing
from tests.domain import trail
from tests.faces.commands.conftest import Ended, Run


def schedule(run: Run, made: MigrationRun, *, person: str = "operator", at: str = "") -> Ended:
    assert made.plan is not None
    time = at or (database_now() + timedelta(hours=2)).isoformat()
    return run(
        "schedule_run",
        "--as",
        person,
        made.number,
        "--digest",
        made.plan.digest,
        "--at",
        time,
        "--confirm-target",
        made.target.label,
    )


def test_a_run_is_scheduled_and_taken_off(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="approved")

    ended = schedule(run, made)
    assert ended.code == 0
    assert "is approved. Scheduled by operator to start at" in ended.out
    assert trail.last("run.scheduled").facts["actor"]["kind"] == "command"

    ended = run("unschedule_run", "--as", "operator", made.number)
    assert (ended.code, "Taken off its schedule by operator" in ended.out) == (0, True)
    ended = run("unschedule_run", "--as", "operator", made.number)
    assert (ended.code, "(not_scheduled)" in ended.err) == (1, True)


def test_what_is_refused_ends_with_1_and_its_code(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="approved")

    assert "(missing_role)" in schedule(run, made, person="dba").err
    assert "(invalid)" in schedule(run, made, at="2020-01-01T00:00Z").err
    windowing.closed(place.environment)
    ended = schedule(run, made)
    assert (ended.code, "(window_closed)" in ended.err) == (1, True)


def test_a_time_without_its_zone_is_wrong_usage(place: people.Place, run: Run) -> None:
    made = people.make_run(place, state="approved")

    for at in ("2030-01-01T00:00", "tomorrow"):
        assert "give a time with its zone" in schedule(run, made, at=at).err
    made.refresh_from_db()
    assert made.scheduled_at is None


def test_the_portal_is_frozen_and_thawed(place: people.Place, run: Run) -> None:
    until = database_now() + timedelta(hours=2)

    ended = run("freeze", "--as", "admin", "--reason", "Incident 7.", "--until", until.isoformat())
    assert (ended.code, "The portal is frozen by admin since" in ended.out) == (0, True)
    assert Freeze.objects.get().until == until
    ended = run("freeze", "--as", "admin", "--reason", "Another.")
    assert (ended.code, "(already_frozen)" in ended.err) == (1, True)

    ended = run("thaw", "--as", "admin", "--reason", "Over.")
    assert (ended.code, "The portal is thawed. It was frozen by admin since" in ended.out) == (0, True)
    assert "(not_frozen)" in run("thaw", "--as", "admin", "--reason", "Over.").err


def test_nobody_else_freezes(place: people.Place, run: Run) -> None:
    ended = run("freeze", "--as", "operator", "--reason", "Incident 7.")

    assert (ended.code, "(may_not_freeze)" in ended.err) == (1, True)
    assert not Freeze.objects.exists()
