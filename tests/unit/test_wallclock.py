"""When a cron line comes due on a wall clock, over the days on which the clock is moved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit import wallclock
from migrations_audit.errors import Invalid
from migrations_audit.wallclock import Schedule, in_utc

MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def dues(schedule: Schedule, since: str, until: str) -> list[str]:
    """Every moment at which it comes due after ``since`` and before ``until``, in UTC."""
    found, moment = [], schedule.next(utc(since))
    while moment is not None and moment < utc(until):
        found.append(f"{moment:%d %H:%M}")
        moment = schedule.next(moment)
    return found


@pytest.mark.parametrize(
    ("cron", "zone", "since", "until", "expected"),
    [
        # Zurich, 29 March 2026: at 01:00 UTC the clock goes from 02:00 to 03:00.
        ("30 2 * * *", "Europe/Zurich", "2026-03-28T00:00", "2026-03-31T00:00", ["28 01:30", "29 01:00", "30 00:30"]),
        ("0 * * * *", "Europe/Zurich", "2026-03-28T23:30", "2026-03-29T02:30", ["29 00:00", "29 01:00", "29 02:00"]),
        ("0 3 * * *", "Europe/Zurich", "2026-03-28T12:00", "2026-03-29T12:00", ["29 01:00"]),
        # Zurich, 25 October 2026: at 01:00 UTC the clock goes from 03:00 back to 02:00.
        ("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00", "2026-10-26T12:00", ["25 00:30", "25 01:30", "26 01:30"]),
        ("0 * * * *", "Europe/Zurich", "2026-10-24T23:30", "2026-10-25T02:30", ["25 00:00", "25 01:00", "25 02:00"]),
        # Santiago moves its clock at midnight: 6 September 2026 begins at 01:00.
        ("0 0 * * *", "America/Santiago", "2026-09-05T00:00", "2026-09-08T00:00", ["05 04:00", "06 04:00", "07 03:00"]),
        # Lord Howe moves its clock by half an hour: 4 October 2026, 02:00 becomes 02:30.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T15:00", "2026-10-04T15:00", ["02 15:45", "03 15:30"]),
        # No clock is moved, and the last day of the month is cron's L.
        ("0 6 L * *", "UTC", "2026-01-30T00:00", "2026-03-30T00:00", ["31 06:00", "28 06:00"]),
        ("0 22 * * 5", "Asia/Kolkata", "2026-11-01T00:00", "2026-11-14T00:00", ["06 16:30", "13 16:30"]),
    ],
)
def test_a_schedule_comes_due(cron: str, zone: str, since: str, until: str, expected: list[str]) -> None:
    assert dues(Schedule(cron, zone), since, until) == expected


def test_the_newest_due_moment_includes_the_moment_itself() -> None:
    schedule = Schedule("30 2 * * *", "Europe/Zurich")

    assert schedule.last(utc("2026-11-10T01:30")) == utc("2026-11-10T01:30")
    assert schedule.last(utc("2026-11-10T01:29:59.999999")) == utc("2026-11-09T01:30")


def test_in_the_hour_that_comes_twice_the_newest_moment_is_the_nearer_one() -> None:
    schedule = Schedule("30 2 * * *", "Europe/Zurich")

    assert schedule.last(utc("2026-10-25T01:10")) == utc("2026-10-25T00:30")  # 02:10 for the second time
    assert schedule.last(utc("2026-10-25T01:40")) == utc("2026-10-25T01:30")
    assert schedule.next(utc("2026-10-25T01:10")) == utc("2026-10-25T01:30")


def test_a_look_reads_few_times_of_a_line_however_often_it_comes_due(monkeypatch: pytest.MonkeyPatch) -> None:
    read, find = [], CronSim.__next__

    def noted(line: CronSim) -> datetime:
        read.append(line)
        return find(line)

    monkeypatch.setattr(CronSim, "__next__", noted)
    schedule, turn = Schedule("* * * * *", "Europe/Zurich"), utc("2026-10-25T01:00")

    for minutes in range(-180, 180, 30):
        at = turn + minutes * MINUTE
        assert (schedule.last(at), schedule.next(at)) == (at, at + MINUTE)

    assert len(read) <= 4 * 12


def test_a_moment_is_said_on_the_wall_clock_and_with_the_offset_where_the_hour_comes_twice() -> None:
    assert wallclock.said(utc("2026-11-30T05:00"), "Europe/Zurich") == "Mon 2026-11-30 06:00 Europe/Zurich"
    assert wallclock.said(utc("2026-10-25T00:30"), "Europe/Zurich") == "Sun 2026-10-25 02:30 Europe/Zurich (UTC+0200)"
    assert wallclock.said(utc("2026-10-25T01:30"), "Europe/Zurich") == "Sun 2026-10-25 02:30 Europe/Zurich (UTC+0100)"


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "0 0 * * * *",
        "60 * * * *",
        "* 24 * * *",
        "0 0 30 2 *",
        "0 0 32 * *",
        "@daily",
        "a b c d e",
        "0 0 * 13 *",
    ],
)
def test_a_cron_line_that_cannot_work_is_refused(cron: str) -> None:
    with pytest.raises(Invalid) as refused:
        wallclock.check_cron(cron)

    assert refused.value.field == "cron"


@pytest.mark.parametrize("cron", ["* * * * *", "0 22 * * 1-5", "*/15 8-18 * * MON-FRI", "0 6 L * *", "0 0 29 2 *"])
def test_a_cron_line_that_works_is_taken(cron: str) -> None:
    wallclock.check_cron(cron)


@pytest.mark.parametrize("zone", ["", "CEST", "Europe/Berne", "../../etc/passwd", "/etc/localtime", "localtime", "utc"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(Invalid) as refused:
        wallclock.check_zone(zone)

    assert refused.value.field == "time_zone"


ZONES = ("UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu")
MOVED = (  # moments near which one of those clocks is moved
    "2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-04-04T15:00", "2026-10-03T15:30",
    "2026-04-05T03:00", "2026-09-06T04:00", "2026-06-15T12:00",
)  # fmt: skip

moments = st.builds(
    lambda near, seconds: utc(near) + timedelta(seconds=seconds), st.sampled_from(MOVED), st.integers(-18_000, 18_000)
)


def due_minutes(
    minute: frozenset[int], hour: frozenset[int], zone: str, since: datetime, until: datetime
) -> set[datetime]:
    """By walking the clock minute by minute: when one of the wall times is shown, or was passed over just now."""
    clock, found = ZoneInfo(zone), set()
    moment = since.replace(second=0, microsecond=0)
    before = (moment - MINUTE).astimezone(clock).replace(tzinfo=None, fold=0)
    while moment <= until:
        shown = moment.astimezone(clock).replace(tzinfo=None, fold=0)
        passed = [shown]
        while passed[-1] - MINUTE > before:
            passed.append(passed[-1] - MINUTE)
        if any(wall.minute in minute and wall.hour in hour for wall in passed):
            found.add(moment)
        before, moment = shown, moment + MINUTE
    return found


@settings(max_examples=150, deadline=None)
@given(
    minute=st.frozensets(st.integers(0, 59), min_size=1, max_size=4),
    hour=st.frozensets(st.integers(0, 4), min_size=1, max_size=5),
    zone=st.sampled_from(ZONES),
    at=moments,
)
def test_next_and_last_are_what_walking_the_clock_finds(
    minute: frozenset[int], hour: frozenset[int], zone: str, at: datetime
) -> None:
    schedule = Schedule(f"{','.join(map(str, minute))} {','.join(map(str, hour))} * * *", zone)
    walked = due_minutes(minute, hour, zone, at - timedelta(hours=26), at + timedelta(hours=26))

    assert schedule.last(at) == max(moment for moment in walked if moment <= at)
    assert schedule.next(at) == min(moment for moment in walked if moment > at)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-30T22:00+02:00", "2026-11-30T20:00+00:00"),
        ("0001-01-01T00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("2026-11-30T22:00", None),
    ],
)
def test_a_moment_is_taken_in_utc_or_not_at_all(text: str, utc: str | None) -> None:
    moment = datetime.fromisoformat(text)
    if utc is None:
        with pytest.raises(Invalid, match="with its zone"):
            in_utc(moment, field="at")
    else:
        assert in_utc(moment, field="at").isoformat(timespec="minutes") == utc


@settings(max_examples=150, deadline=None)
@given(
    minute=st.sampled_from(["*", "*/2", "0", "0-30", "0,59", "5,35"]),
    hour=st.sampled_from(["*", "0-22", "*/6", "2", "1-3"]),
    day=st.sampled_from(["*", "0", "1-5", "0,6"]),
    zone=st.sampled_from(ZONES),
    at=moments,
    gap=st.sampled_from([1, 2, 59, 60, 61, 240, 1_380, 1_440, 1_500, 2_880]).map(lambda minutes: minutes * MINUTE),
    ahead=st.integers(0, 3_000).map(lambda minutes: minutes * MINUTE),
)
def test_what_follows_without_a_gap_is_what_walking_from_one_to_the_next_finds(
    minute: str, hour: str, day: str, zone: str, at: datetime, gap: timedelta, ahead: timedelta
) -> None:
    schedule = Schedule(f"{minute} {hour} * * {day}", zone)
    first = schedule.last(at)
    assert first is not None

    last, following = first, schedule.next(first)
    while last < at + ahead and following is not None and following - last <= gap:
        last, following = following, schedule.next(following)

    assert schedule.unbroken(first, gap, at + ahead) == last
