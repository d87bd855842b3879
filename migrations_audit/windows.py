"""When runs may start: windows that allow and windows that deny. Pure.

The rules are those of Argo CD's sync windows. A window that denies wins over one that allows. Where any window allows, a run
starts only inside one; where none does, it starts whenever nothing denies. Nothing ends a run because a window closes: a window
decides about starts. Without ``overrun`` it also decides about how long: a run then starts only if it would end inside what is
open, even if it took all the time that it may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from migrations_audit.errors import Invalid
from migrations_audit.wallclock import Schedule, check_cron, check_zone, said

LOOKS_AHEAD: Final = timedelta(days=400)
MOST_LOOKS: Final = 2_000
"""At single windows in one search. A calendar for people takes a few; what takes more is answered as far as was looked."""
LONGEST: Final = timedelta(days=31)
NOTHING: Final = timedelta(0)


class Kind(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True)
class Window:
    """It opens whenever ``cron`` comes due on the wall clock of ``time_zone`` and lasts for ``duration`` of elapsed time.

    ``overrun``: a run may start inside although it may last longer than the window (or, for one that denies, into it).
    """

    kind: Kind
    cron: str
    duration: timedelta
    time_zone: str
    description: str = ""
    overrun: bool = True

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.cron, self.time_zone)

    @property
    def name(self) -> str:
        """How a sentence names it."""
        noun = "closing window" if self.kind is Kind.DENY else "window"
        return f"{noun} “{self.description or self.cron}”"


@dataclass(frozen=True)
class Opening:
    """Whether a run may start, in words. ``until`` is when what is said ends; ``opens_at`` the next opening of what is closed."""

    is_open: bool
    sentence: str
    until: datetime | None = None
    opens_at: datetime | None = None


def check(window: Window, *, lasts: timedelta = NOTHING) -> None:
    """Raise Invalid unless the window can work for runs that may last as long as ``lasts``."""
    check_cron(window.cron)
    check_zone(window.time_zone)
    if not timedelta(minutes=1) <= window.duration <= LONGEST:
        raise Invalid(f"A window lasts from 1 minute to {LONGEST.days} days.", field="duration_minutes")
    if window.kind is Kind.ALLOW and not window.overrun and window.duration <= lasts:
        raise Invalid(
            f"A run may last {_length(lasts)} here, so none could ever start in a window of {_length(window.duration)} that "
            "it must not outlast. Make the window longer, or allow overrun.",
            field="overrun",
        )


def fault_of(window: Window) -> str:
    """Why a window that was stored once cannot be read any more, as after an update of the zones; empty when it can."""
    try:
        check_cron(window.cron)
        check_zone(window.time_zone)
    except Invalid as error:
        return error.message
    return ""


def verdict(windows: Iterable[Window], *, now: datetime, lasts: timedelta = NOTHING) -> Opening:
    """Whether a run that may last as long as ``lasts`` may start at ``now``, and what comes next.

    A window that cannot be read closes: nobody knows what it would have said.
    """
    watch = _Watch(tuple(windows), lasts)
    for window in watch.windows:
        if fault := fault_of(window):
            sentence = (
                f"Closed: the {window.name} in {window.time_zone} cannot be read, so it counts as closed. {fault}"
            )
            return Opening(False, sentence)
    closing = watch.closing(now)
    if closing is None:
        return _opened(watch, now)
    opening = watch.opening(now)
    until = watch.end(closing, now) if closing.kind is Kind.DENY else None
    sentence = _closed(watch, closing, now)
    if opening.by is None:
        looked = said(opening.at, closing.time_zone)
        return Opening(False, f"{sentence} No opening was found up to {looked}.", until)
    if opening.at != until:
        sentence = f"{sentence} The next opening is {said(opening.at, opening.by.time_zone)}."
    return Opening(False, sentence, until, opening.at)


@dataclass(frozen=True)
class Edge:
    """A moment at which something opens or closes, and the window by which it does; without one, how far was looked in vain."""

    at: datetime
    by: Window | None


@dataclass(frozen=True)
class _Watch:
    """The windows as a run of this length meets them: what must not be overrun closes earlier, or begins to deny earlier."""

    windows: Sequence[Window]
    lasts: timedelta

    @property
    def denying(self) -> list[Window]:
        return [window for window in self.windows if window.kind is Kind.DENY]

    @property
    def allowing(self) -> list[Window]:
        return [window for window in self.windows if window.kind is Kind.ALLOW]

    def end(self, window: Window, at: datetime) -> datetime | None:
        """Until when the window holds for such a run, if it does at ``at``."""
        start = window.schedule.last(at + self._lead(window))
        if start is None:
            return None
        end = start + window.duration - self._tail(window)
        return end if end > at else None

    def reach(self, window: Window, end: datetime, limit: datetime) -> datetime:
        """Until when the window holds that would end at ``end``, where it begins again before. Looked for up to ``limit``."""
        length, lead = window.duration - self._tail(window), self._lead(window)
        return window.schedule.unbroken(end - length, length + lead, limit + lead) + length

    def begin(self, window: Window, after: datetime) -> datetime | None:
        """From when on the window holds for such a run the next time."""
        if window.duration <= self._tail(window):
            return None
        start = window.schedule.next(after + self._lead(window))
        return None if start is None else start - self._lead(window)

    def closing(self, at: datetime) -> Window | None:
        """The window that keeps a run from starting: the one that denies longest, else the one that will allow or did last."""
        denying = [(end, window) for window in self.denying if (end := self.end(window, at)) is not None]
        if denying:
            return max(denying, key=lambda pair: pair[0])[1]
        if not self.allowing or any(self.end(window, at) is not None for window in self.allowing):
            return None
        short = [window for window in self.allowing if _ends(window, at) is not None]
        return (short or self.allowing)[0]

    def opening(self, at: datetime) -> Edge:
        """The first moment after ``at`` at which a run may start, and the window that ends or begins there."""
        edge, limit = Edge(at, None), at + LOOKS_AHEAD
        for _ in range(self._most_steps):
            closing = self.closing(edge.at)
            if closing is None:
                return edge
            if closing.kind is Kind.DENY and (end := self.end(closing, edge.at)) is not None:
                step: Edge | None = Edge(self.reach(closing, end, limit), closing)
            else:
                step = _earliest((self.begin(window, edge.at), window) for window in self.allowing)
            if step is None or step.at > limit:
                return Edge(limit, None)
            edge = step
        return Edge(edge.at, None)

    def until(self, at: datetime) -> Edge:
        """When what is open at ``at`` closes, and the window by which it does."""
        edges = [
            _earliest((self.begin(window, at), window) for window in self.denying),
            self._allowed_until(at),
            Edge(at + LOOKS_AHEAD, None),
        ]
        return min((edge for edge in edges if edge is not None), key=lambda edge: edge.at)

    def _allowed_until(self, at: datetime) -> Edge | None:
        """When the last of the windows ends that follow one another without a gap; None where none has to be open."""
        last, limit = Edge(at, None) if self.allowing else None, at + LOOKS_AHEAD
        for _ in range(self._most_steps):
            if last is None or last.at > limit:
                return last
            ends = [(end, window) for window in self.allowing if (end := self.end(window, last.at)) is not None]
            if not ends:
                return last
            end, longest = max(ends, key=lambda pair: pair[0])
            last = Edge(self.reach(longest, end, limit), longest)
        return None if last is None else Edge(last.at, None)

    @property
    def _most_steps(self) -> int:
        return max(MOST_LOOKS // len(self.windows), 10)

    def _lead(self, window: Window) -> timedelta:
        return self.lasts if window.kind is Kind.DENY and not window.overrun else NOTHING

    def _tail(self, window: Window) -> timedelta:
        return self.lasts if window.kind is Kind.ALLOW and not window.overrun else NOTHING


def _earliest(found: Iterable[tuple[datetime | None, Window]]) -> Edge | None:
    known = [Edge(moment, window) for moment, window in found if moment is not None]
    return min(known, key=lambda edge: edge.at, default=None)


def _ends(window: Window, at: datetime) -> datetime | None:
    """When the window itself ends, if it is open at ``at``, however long a run may last."""
    start = window.schedule.last(at)
    return start + window.duration if start is not None and start + window.duration > at else None


def _opened(watch: _Watch, now: datetime) -> Opening:
    if not watch.windows:
        return Opening(True, "Open: no window is set, so a run may start at any time.")
    closes = watch.until(now)
    by = closes.by
    if by is None:
        return Opening(True, f"Open at least until {said(closes.at, watch.windows[0].time_zone)}.")
    what = "when the {} begins" if by.kind is Kind.DENY else "when the {} ends"
    if watch.lasts and not by.overrun:
        what = f"so that a run of {_length(watch.lasts)} ends before the {{}} {'begins' if by.kind is Kind.DENY else 'does'}"
    return Opening(True, f"Open until {said(closes.at, by.time_zone)}, {what.format(by.name)}.", closes.at)


def _closed(watch: _Watch, by: Window, now: datetime) -> str:
    ends = _ends(by, now)
    if by.kind is Kind.ALLOW:
        if ends is None:
            return "Closed: no window is open."
        return f"Closed: a run may last {_length(watch.lasts)}, and the {by.name} ends {said(ends, by.time_zone)}."
    if ends is None:
        begins = by.schedule.next(now) or now
        return (
            f"Closed: a run may last {_length(watch.lasts)}, and the {by.name} begins {said(begins, by.time_zone)}. "
            f"It ends {said(begins + by.duration, by.time_zone)}."
        )
    return f"Closed by the {by.name} until {said(watch.end(by, now) or ends, by.time_zone)}."


def _length(duration: timedelta) -> str:
    minutes = round(duration.total_seconds() / 60)
    days, rest = divmod(minutes, 24 * 60)
    hours, left = divmod(rest, 60)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (left, "min")) if count]
    return " ".join(parts) or f"{round(duration.total_seconds())} s"
