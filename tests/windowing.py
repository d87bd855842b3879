"""Windows around the present moment, for tests that cannot choose it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from migrations_audit.models import Environment, Freeze, Window
from migrations_audit.models.clock import database_now
from tests.people import Place


def closed(environment: Environment, **more: Any) -> Window:
    """No run may start there, ever."""
    return _window(environment, kind="deny", cron="* * * * *", description="month end", **more)


def opened(environment: Environment, **more: Any) -> Window:
    """A run may start there at any time."""
    return _window(environment, kind="allow", cron="* * * * *", description="always", **more)


def opens_in(environment: Environment, hours: int, **more: Any) -> Window:
    """A run may start there only from so many hours from now on (less what is left of this minute), for an hour."""
    at = database_now() + timedelta(hours=hours)
    return _window(environment, kind="allow", cron=f"{at:%M} {at:%H} * * *", description="nightly", **more)


def frozen(place: Place, **more: Any) -> Freeze:
    """The portal frozen by the place's administrator, as a row."""
    person = place.people["admin"]
    return Freeze.objects.create(
        **{"reason": "Incident 7.", "by": person, "by_name": person.username, "at": database_now(), **more}
    )


@contextmanager
def frozen_meanwhile(place: Place) -> Iterator[None]:
    """The portal frozen for the length of the block, where the database outlives the test."""
    freeze = frozen(place)
    try:
        yield
    finally:
        Freeze.objects.filter(pk=freeze.pk).update(is_open=False, ended_at=database_now())


def _window(environment: Environment, **values: Any) -> Window:
    return Window.objects.create(environment=environment, **{"duration_minutes": 60, "time_zone": "UTC", **values})
