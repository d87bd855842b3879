"""When a cron line comes due on the wall clock of a time zone. Pure.

The calendar part is CronSim's (days of the month and of the week as in cron, ``L`` for the last). What the wall clock adds is
said here: a time that the clock shows twice comes due twice, and one that it passes over comes due when it has passed it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
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
        wall, spread = _wall(at, zone), _spread(at, zone)
        best: tuple[datetime, datetime] | None = None
        for tick in CronSim(self.cron, wall + spread + MINUTE, reverse=True):
            if best is not None and tick < best[1] - spread:
                break
            for moment in _moments(tick, zone):
                if moment <= at and (best is None or moment > best[0]):
                    best = (moment, tick)
        return None if best is None else best[0]

    def next(self, after: datetime) -> datetime | None:
        """The first moment after ``after`` at which it comes due."""
        zone = ZoneInfo(self.time_zone)
        wall, spread = _wall(after, zone), _spread(after, zone)
        best: tuple[datetime, datetime] | None = None
        for tick in CronSim(self.cron, wall - spread - MINUTE):
            if best is not None and tick > best[1] + spread:
                break
            for moment in _moments(tick, zone):
                if moment > after and (best is None or moment < best[0]):
                    best = (moment, tick)
        return None if best is None else best[0]


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


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the wall clock shows, to the minute."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0, second=0, microsecond=0)


def _spread(moment: datetime, zone: ZoneInfo) -> timedelta:
    """By how much the wall clock is moved around ``moment``: so far apart the order of wall times and of moments may differ."""
    offsets = [(moment + step).astimezone(zone).utcoffset() or timedelta(0) for step in (-DAY, timedelta(0), DAY)]
    return max(offsets) - min(offsets)


def _moments(wall: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """The moments at which the wall clock shows ``wall``; for a time that it passes over, the one at which it has passed it."""
    while True:
        found = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
        shown = sorted(moment for moment in found if moment.astimezone(zone).replace(tzinfo=None) == wall)
        if shown:
            yield from shown
            return
        wall += MINUTE
