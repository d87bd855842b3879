"""Windows that allow and windows that deny: which wins, until when, in which words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations_audit import windows
from migrations_audit.errors import Invalid
from migrations_audit.wallclock import Schedule, said
from migrations_audit.windows import Kind, Window, verdict

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def allow(cron: str = "0 22 * * 1-5", hours: float = 4, zone: str = "Europe/Zurich", **more: Any) -> Window:
    return Window(Kind.ALLOW, cron, timedelta(hours=hours), zone, **{"description": "nightly", **more})


def deny(cron: str = "0 6 28 * *", hours: float = 48, zone: str = "Europe/Zurich", **more: Any) -> Window:
    return Window(Kind.DENY, cron, timedelta(hours=hours), zone, **{"description": "month end", **more})


TUESDAY_NOON = utc("2026-11-10T12:00")
TUESDAY_NIGHT = utc("2026-11-10T22:30")


def test_without_a_window_a_run_may_start_at_any_time() -> None:
    found = verdict([], now=TUESDAY_NOON)

    assert (found.is_open, found.until, found.opens_at) == (True, None, None)
    assert found.sentence == "Open: no window is set, so a run may start at any time."


def test_where_a_window_allows_a_run_starts_only_inside_one() -> None:
    inside, outside = verdict([allow()], now=TUESDAY_NIGHT), verdict([allow()], now=TUESDAY_NOON)

    assert (inside.is_open, inside.until) == (True, utc("2026-11-11T01:00"))
    assert inside.sentence == "Open until Wed 2026-11-11 02:00 Europe/Zurich, when the window “nightly” ends."
    assert (outside.is_open, outside.until, outside.opens_at) == (False, None, utc("2026-11-10T21:00"))
    assert outside.sentence == "Closed: no window is open. The next opening is Tue 2026-11-10 22:00 Europe/Zurich."


def test_where_windows_only_deny_a_run_starts_outside_of_them() -> None:
    before, during = verdict([deny()], now=TUESDAY_NOON), verdict([deny()], now=utc("2026-11-29T12:00"))

    assert (
        before.sentence == "Open until Sat 2026-11-28 06:00 Europe/Zurich, when the closing window “month end” begins."
    )
    assert (during.is_open, during.until, during.opens_at) == (False, utc("2026-11-30T05:00"), utc("2026-11-30T05:00"))
    assert during.sentence == "Closed by the closing window “month end” until Mon 2026-11-30 06:00 Europe/Zurich."


def test_a_window_that_denies_wins_and_the_next_opening_is_where_both_agree() -> None:
    found = verdict([allow(), deny("0 0 10 11 *", 24)], now=TUESDAY_NIGHT)

    assert (found.is_open, found.until, found.opens_at) == (False, utc("2026-11-10T23:00"), utc("2026-11-10T23:00"))

    found = verdict([allow(), deny("0 0 10 11 *", 30)], now=TUESDAY_NIGHT)

    assert (found.until, found.opens_at) == (utc("2026-11-11T05:00"), utc("2026-11-11T21:00"))
    assert found.sentence == (
        "Closed by the closing window “month end” until Wed 2026-11-11 06:00 Europe/Zurich. "
        "The next opening is Wed 2026-11-11 22:00 Europe/Zurich."
    )


def test_a_begin_belongs_to_the_window_and_an_end_does_not() -> None:
    assert verdict([allow()], now=utc("2026-11-10T21:00")).is_open
    assert not verdict([allow()], now=utc("2026-11-10T20:59:59")).is_open
    assert verdict([allow()], now=utc("2026-11-11T00:59:59")).is_open
    assert not verdict([allow()], now=utc("2026-11-11T01:00")).is_open


def test_windows_that_follow_one_another_are_open_until_the_last_one_ends() -> None:
    found = verdict([allow("0 20 * * *", 2), allow("0 22 * * *", 2)], now=utc("2026-11-10T19:30"))

    assert found.until == utc("2026-11-10T23:00")


def test_a_window_over_and_over_is_open_with_nothing_to_close_it() -> None:
    found = verdict([allow("0 0 * * *", 25)], now=TUESDAY_NOON)

    assert (found.is_open, found.until) == (True, None)
    assert found.sentence == "Open at least until Wed 2027-12-15 13:00 Europe/Zurich."


def test_a_window_of_24_hours_each_day_leaves_an_hour_on_the_day_that_has_25() -> None:
    found = verdict([allow("0 0 * * *", 24)], now=TUESDAY_NOON)

    assert found.until == utc("2027-10-31T22:00")


def test_without_overrun_a_run_starts_only_while_it_would_end_inside() -> None:
    window = [allow(overrun=False)]

    early = verdict(window, now=utc("2026-11-10T23:30"), lasts=HOUR)
    late = verdict(window, now=utc("2026-11-11T00:30"), lasts=HOUR)

    assert (early.is_open, early.until) == (True, utc("2026-11-11T00:00"))
    assert early.sentence == (
        "Open until Wed 2026-11-11 01:00 Europe/Zurich, so that a run of 1 h ends before the window “nightly” does."
    )
    assert (late.is_open, late.opens_at) == (False, utc("2026-11-11T21:00"))
    assert late.sentence == (
        "Closed: a run may last 1 h, and the window “nightly” ends Wed 2026-11-11 02:00 Europe/Zurich. "
        "The next opening is Wed 2026-11-11 22:00 Europe/Zurich."
    )
    assert verdict([replace(window[0], overrun=True)], now=utc("2026-11-11T00:30"), lasts=HOUR).is_open


def test_without_overrun_a_run_does_not_start_that_would_last_into_a_closing_window() -> None:
    window = [deny(overrun=False)]

    found = verdict(window, now=utc("2026-11-28T04:30"), lasts=HOUR)

    assert (found.is_open, found.opens_at) == (False, utc("2026-11-30T05:00"))
    assert found.sentence == (
        "Closed: a run may last 1 h, and the closing window “month end” begins Sat 2026-11-28 06:00 Europe/Zurich. "
        "It ends Mon 2026-11-30 06:00 Europe/Zurich."
    )
    assert verdict(window, now=utc("2026-11-28T03:59"), lasts=HOUR).until == utc("2026-11-28T04:00")
    assert verdict([replace(window[0], overrun=True)], now=utc("2026-11-28T04:30"), lasts=HOUR).is_open


@pytest.mark.parametrize("broken", [{"time_zone": "Europe/Abolished"}, {"cron": "0 22 * *"}])
def test_a_window_that_cannot_be_read_any_more_closes(broken: dict[str, Any]) -> None:
    found = verdict([allow("* * * * *"), replace(deny(), **broken)], now=TUESDAY_NOON)

    assert (found.is_open, found.opens_at) == (False, None)
    assert "the closing window “month end” in" in found.sentence
    assert "cannot be read, so it counts as closed." in found.sentence


def test_what_never_opens_says_so_and_how_far_it_looked() -> None:
    found = verdict([deny("0 0 * * *", 25)], now=TUESDAY_NOON)

    assert (found.is_open, found.opens_at) == (False, None)
    assert found.sentence.endswith("No opening was found up to Wed 2027-12-15 13:00 Europe/Zurich.")


@pytest.mark.parametrize("kind", Kind)
def test_where_it_gives_up_looking_it_says_how_far_it_looked(kind: Kind) -> None:
    in_turn = [Window(kind, cron, MINUTE, "UTC") for cron in ("*/2 * * * *", "1-59/2 * * * *")]

    found = verdict(in_turn * 10, now=TUESDAY_NOON)

    assert found.is_open == (kind is Kind.ALLOW)
    assert found.opens_at is None
    # 2,000 looks at 20 windows: a hundred minutes.
    assert found.sentence.endswith(f"{'Open at least until' if found.is_open else 'up to'} Tue 2026-11-10 13:40 UTC.")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Every look that is taken at a single window."""
    taken: list[datetime] = []

    def noting(
        look: Callable[[Schedule, datetime], datetime | None],
    ) -> Callable[[Schedule, datetime], datetime | None]:
        def noted(schedule: Schedule, at: datetime) -> datetime | None:
            taken.append(at)
            return look(schedule, at)

        return noted

    for name in ("last", "next"):
        monkeypatch.setattr(Schedule, name, noting(getattr(Schedule, name)))
    return taken


@pytest.mark.parametrize("now", ["2026-10-24T20:00", "2026-10-25T00:40", "2026-03-29T00:40", "2026-07-01T12:00"])
@pytest.mark.parametrize("minutes", [1, 60])
@pytest.mark.parametrize("kind", Kind)
def test_a_window_that_opens_each_minute_takes_few_looks(
    kind: Kind, minutes: int, now: str, looks: list[datetime]
) -> None:
    each_minute = Window(kind, "* * * * *", MINUTE * minutes, "Europe/Zurich")

    found = verdict([each_minute], now=utc(now))

    assert (found.is_open, found.opens_at) == (kind is Kind.ALLOW, None)
    assert found.sentence.endswith(f" {said(utc(now) + windows.LOOKS_AHEAD, 'Europe/Zurich')}.")
    assert len(looks) <= 12


@pytest.mark.parametrize(
    ("window", "until"),
    [
        (deny("* * * * 1-5", 1 / 60), "2026-11-13T23:00"),
        (deny("* 0-20 * * *", 1 / 60), "2026-11-10T20:00"),
        (deny("*/5 * * * 1-5", 1), "2026-11-13T23:55"),
        (deny("0 12 * * 0-4", 23, overrun=False), "2026-11-13T10:00"),
        (deny("0 12 * * 0-4", 22, overrun=False), "2026-11-11T09:00"),
    ],
)
def test_a_window_that_begins_again_before_it_ends_is_one_stretch(
    window: Window, until: str, looks: list[datetime]
) -> None:
    found = verdict([window], now=TUESDAY_NOON, lasts=HOUR)

    assert (found.is_open, found.opens_at) == (False, utc(until))
    assert len(looks) <= 12


def test_a_stretch_of_24_hours_each_day_ends_on_the_day_that_has_25() -> None:
    found = verdict([deny("0 0 * * *", 24)], now=TUESDAY_NOON)

    assert found.opens_at == utc("2027-10-31T22:00")


def test_a_window_once_in_many_years_is_looked_for_no_further_than_400_days() -> None:
    found = verdict([allow("0 0 29 2 *")], now=TUESDAY_NOON)

    assert (found.is_open, found.opens_at) == (False, None)


@pytest.mark.parametrize(
    ("now", "is_open", "moment"),
    [
        # 29 March 2026: 02:30 does not exist, so the window opens at 03:00 summer time and lasts its two hours.
        ("2026-03-29T00:59", False, "2026-03-29T01:00"),
        ("2026-03-29T01:00", True, "2026-03-29T03:00"),
        ("2026-03-29T02:59", True, "2026-03-29T03:00"),
        # 25 October 2026: 02:30 comes twice; each time the window opens, and it lasts two hours from then on.
        ("2026-10-25T00:29", False, "2026-10-25T00:30"),
        ("2026-10-25T00:30", True, "2026-10-25T03:30"),
        ("2026-10-25T03:29", True, "2026-10-25T03:30"),
        ("2026-10-25T03:30", False, "2026-10-26T01:30"),
    ],
)
def test_a_window_on_the_days_on_which_the_clock_is_moved(now: str, is_open: bool, moment: str) -> None:
    found = verdict([allow("30 2 * * *", 2)], now=utc(now))

    assert found.is_open == is_open
    assert (found.until if is_open else found.opens_at) == utc(moment)


def test_a_duration_is_elapsed_time_also_when_the_clock_is_moved_meanwhile() -> None:
    found = verdict([deny("0 22 * * 6", 8)], now=utc("2026-03-28T21:30"))

    assert found.until == utc("2026-03-29T05:00")
    assert "until Sun 2026-03-29 07:00 Europe/Zurich" in found.sentence


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cron": "0 22 * *"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"duration": timedelta(seconds=59)}, "duration_minutes"),
        ({"duration": timedelta(days=32)}, "duration_minutes"),
        ({"overrun": False, "duration": HOUR}, "overrun"),
    ],
)
def test_a_window_that_cannot_work_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        windows.check(replace(allow(), **change), lasts=HOUR)

    assert refused.value.field == field


def test_a_window_that_works_is_taken() -> None:
    windows.check(allow(), lasts=HOUR)
    windows.check(deny(overrun=False, hours=0.5), lasts=HOUR)


some_windows = st.lists(
    st.builds(
        Window,
        kind=st.sampled_from(Kind),
        cron=st.builds(
            "{} {} * * {}".format,
            st.integers(0, 59),
            st.sampled_from(["*", "*/6", "2", "1,3", "22"]),
            st.sampled_from(["*", "0", "6"]),
        ),
        duration=st.integers(1, 900).map(lambda minutes: timedelta(minutes=minutes)),
        time_zone=st.sampled_from(["UTC", "Europe/Zurich", "America/New_York", "Australia/Lord_Howe"]),
        overrun=st.booleans(),
    ),
    max_size=4,
)
moments = st.builds(
    lambda near, minutes: utc(near) + timedelta(minutes=minutes),
    st.sampled_from(
        ["2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-07-01T00:00"]
    ),
    st.integers(-900, 900),
)
lengths = st.sampled_from([timedelta(0), timedelta(minutes=5), HOUR])


def holds(window: Window, at: datetime, until: datetime) -> list[bool]:
    """Whether the window is open, for each minute from ``at`` to ``until``."""
    starts, start = [], window.schedule.next(at - window.duration - MINUTE)
    while start is not None and start <= until:
        starts.append(start)
        start = window.schedule.next(start)
    minutes = [at + MINUTE * index for index in range(int((until - at) / MINUTE) + 1)]
    return [any(begin <= minute < begin + window.duration for begin in starts) for minute in minutes]


def may_start(among: Sequence[Window], at: datetime, lasts: timedelta) -> bool:
    """By the rules as they are written, minute by minute through the run."""
    run = {window: holds(window, at, max(at, at + lasts)) for window in among}
    for window in among:
        if window.kind is Kind.DENY and (run[window][0] if window.overrun else any(run[window])):
            return False
    allowing = [window for window in among if window.kind is Kind.ALLOW]
    return not allowing or any(run[window][0] for window in allowing)


@settings(max_examples=100, deadline=None)
@given(some_windows, moments, lengths)
def test_a_verdict_is_what_the_rules_say_minute_by_minute(among: list[Window], now: datetime, lasts: timedelta) -> None:
    written = [replace(window, overrun=True) if window.kind is Kind.ALLOW else window for window in among]

    assert verdict(written, now=now, lasts=lasts).is_open == may_start(written, now, lasts)


@settings(max_examples=100, deadline=None)
@given(some_windows, moments, lengths)
def test_a_verdict_holds_until_it_says_and_changes_then(among: list[Window], now: datetime, lasts: timedelta) -> None:
    found = verdict(among, now=now, lasts=lasts)

    change = found.until if found.is_open else found.opens_at
    if change is None:
        return
    assert change > now
    assert verdict(among, now=change, lasts=lasts).is_open != found.is_open
    for part in (0.0, 0.3, 0.7, 0.999):
        assert verdict(among, now=now + (change - now) * part, lasts=lasts).is_open == found.is_open


@settings(max_examples=60, deadline=None)
@given(some_windows, moments, lengths)
def test_one_more_window_that_denies_never_opens_what_was_closed(
    among: list[Window], now: datetime, lasts: timedelta
) -> None:
    if verdict([*among, deny("0 * * * *", 0.5)], now=now, lasts=lasts).is_open:
        assert verdict(among, now=now, lasts=lasts).is_open
