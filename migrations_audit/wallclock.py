"""When a cron line comes due on the wall clock of a time zone. Pure.

The calendar part is CronSim's (days of the month and of the week as in cron, ``L`` for the last). What the wall clock adds is
said here: a time that the clock shows twice comes due twice, and one that it passes over comes due when it has passed it.
"""

from __future__ import annotations

import calendar
import functools
from bisect import bisect_left, bisect_right
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from migrations_audit.errors import Invalid

FIELDS = 5
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Schedule:
    """A cron line of five fields on the wall clock of ``time_zone``. Both are taken as checked."""

    cron: str
    time_zone: str

    def last(self, at: datetime) -> datetime | None:
        """The newest moment at or before ``at`` at which it came due."""
        zone = ZoneInfo(self.time_zone)
        local = at.astimezone(zone)
        ticks = self._ticks(_wall(local) + MINUTE, backwards=True)
        if local.fold and (turn := _turn_after(at - DAY, zone)) is not None:
            # Shown for the second time: what is later on the clock came due when it was shown for the first time.
            ticks += self._ticks(_wall((turn - MINUTE).astimezone(zone)) + MINUTE, backwards=True)
        return max((moment for tick in ticks for moment in _moments(tick, zone) if moment <= at), default=None)

    def next(self, after: datetime) -> datetime | None:
        """The first moment after ``after`` at which it comes due."""
        zone = ZoneInfo(self.time_zone)
        local = after.astimezone(zone)
        ticks = self._ticks(_wall(local))
        if local.utcoffset() != local.replace(fold=1).utcoffset() and (turn := _turn_after(after, zone)) is not None:
            # Shown for the first time: what is earlier on the clock comes due again when it is shown for the second time.
            ticks += self._ticks(_wall(turn.astimezone(zone)) - MINUTE)
        return min((moment for tick in ticks for moment in _moments(tick, zone) if moment > after), default=None)

    def unbroken(self, since: datetime, gap: timedelta, limit: datetime) -> datetime:
        """The last of the moments from ``since`` on that follow one another with at most ``gap`` between them.

        ``since`` is one itself. The first at or after ``limit`` ends it. The work is a look for each time that the clock is
        moved and one for each day, whatever comes due in between.
        """
        while since < limit:
            following = self.next(since)
            if following is None or following - since > gap:
                break
            since = self._steady(following, gap, limit)
        return since

    def _steady(self, since: datetime, gap: timedelta, limit: datetime) -> datetime:
        """``unbroken`` before ``limit`` and before the clock is moved: there, one day on which it comes due is like another."""
        zone = ZoneInfo(self.time_zone)
        start = wall = _wall(since.astimezone(zone))
        close = wall + (min(limit, _turn_after(since, zone) or limit) - since)
        line, times, breaks = _day(self.cron, gap)
        day = datetime.combine(wall, time.min)
        while day < min(close, wall + gap + DAY):
            index = bisect_right(times, wall - day)
            if day.month in line.months and line.match_day(day) and index < len(times):
                begin = day + times[index]
                if begin - wall > gap or begin >= close:
                    break
                stop = breaks[bisect_left(breaks, times[index])]  # the last of this day, if nothing breaks it before
                wall = day + min(stop, times[bisect_left(times, close - day) - 1])
                if stop != times[-1]:
                    break
            day += DAY
        return since + (wall - start)

    def _ticks(self, wall: datetime, *, backwards: bool = False) -> list[datetime]:
        """The next time after ``wall`` on the clock, or the last before it, if there is one."""
        line = copy(_line(self.cron, backwards))
        line.dt = wall
        tick = next(line, None)
        return [] if tick is None else [tick]


def check_cron(text: str) -> None:
    """Raise Invalid unless ``text`` is a cron line of five fields that comes due at all."""
    if len(text.split()) != FIELDS:
        raise Invalid(
            "A cron line has five fields: minute, hour, day of the month, month, day of the week, like “0 22 * * 1-5”.",
            field="cron",
        )
    try:
        first = next(CronSim(text, datetime(2024, 1, 1)), None)  # noqa: DTZ001  (a calendar without a clock)
    except CronSimError as error:
        raise Invalid(f"This cron line cannot be read: {error}. An example is “0 22 * * 1-5”.", field="cron") from error
    if first is None:
        raise Invalid("This cron line names a day that does not come.", field="cron")


def check_zone(name: str) -> None:
    """Raise Invalid unless ``name`` is a time zone of the database of the IANA."""
    if name not in _known_zones():
        raise Invalid("Name a time zone as the IANA does, like Europe/Zurich or UTC.", field="time_zone")


def in_utc(moment: datetime, *, field: str) -> datetime:
    """The moment in UTC. Raises Invalid without a zone, and for a year that no calendar of people needs."""
    if moment.tzinfo is None or not 1971 <= moment.year <= 9000:
        raise Invalid("Give a date and a time with its zone, like 2026-11-30T22:00Z.", field=field)
    return moment.astimezone(UTC)


def said(moment: datetime, time_zone: str) -> str:
    """A moment as people there say it, like “Mon 2026-11-30 06:00 Europe/Zurich”; with the offset where that hour comes twice."""
    local = moment.astimezone(ZoneInfo(time_zone))
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[local.weekday()]
    is_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    offset = f" (UTC{local:%z})" if is_twice else ""
    return f"{day} {local:%Y-%m-%d %H:%M} {time_zone}{offset}"


@functools.cache
def _known_zones() -> frozenset[str]:
    # Those of the package, not of the host: a name that only this host knows would stop the others.
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


@functools.lru_cache(maxsize=1_000)
def _line(cron: str, backwards: bool = False) -> CronSim:
    """The line as it was read: that costs more than finding a time by it. Copy it before it is moved."""
    return CronSim(cron, datetime(2024, 1, 1), reverse=backwards)  # noqa: DTZ001  (a calendar without a clock)


def _wall(local: datetime) -> datetime:
    """What the wall clock shows, to the minute."""
    return local.replace(tzinfo=None, fold=0, second=0, microsecond=0)


def _moments(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """The moments at which the wall clock shows ``wall``; for a time that it passes over, the one at which it has passed it."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return sorted({first, second})
    turn = _turn_after(second, zone)
    return [] if turn is None else [turn]


def _turn_after(moment: datetime, zone: ZoneInfo) -> datetime | None:
    """When the clock is moved the next time after ``moment``, in that year and the two that follow."""
    years = range(moment.year, moment.year + 3)
    return next((turn for year in years for turn in _turns(year, zone) if turn > moment), None)


@functools.lru_cache(maxsize=1_000)
def _turns(year: int, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The moments of a year at which the clock is moved. No clock is moved twice a day."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + DAY * count for count in range(366 + calendar.isleap(year))]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    pairs = zip(pairwise(days), pairwise(offsets), strict=True)
    return tuple(_turn(since, until, zone) for (since, until), (before, after) in pairs if before != after)


def _turn(since: datetime, until: datetime, zone: ZoneInfo) -> datetime:
    before = since.astimezone(zone).utcoffset()
    while until - since > MINUTE:
        middle = since + (until - since) // (2 * MINUTE) * MINUTE
        if middle.astimezone(zone).utcoffset() == before:
            since = middle
        else:
            until = middle
    return until


@functools.lru_cache(maxsize=100)
def _day(cron: str, gap: timedelta) -> tuple[CronSim, list[timedelta], list[timedelta]]:
    """The line, its times of a day, and those of them after which more than ``gap`` passes until the next, with the last one."""
    line = _line(cron)
    times = [timedelta(hours=hour, minutes=minute) for hour in sorted(line.hours) for minute in sorted(line.minutes)]
    return line, times, [one for one, following in pairwise(times) if following - one > gap] + times[-1:]
