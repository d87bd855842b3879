"""Python loads this at the start of a worker whose PYTHONPATH leads here: its clock is PORTAL_TEST_SKEW_S seconds off."""

from __future__ import annotations

import datetime
import os
import time

_SKEW_S = float(os.environ["PORTAL_TEST_SKEW_S"])
_real_time = time.time
_real = datetime.datetime


class _LikeTheReal(type):
    """What C code makes are instances of the real class, and have to count."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real)


class _Skewed(_real, metaclass=_LikeTheReal):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _real:  # type: ignore[override]
        return _real.now(tz) + datetime.timedelta(seconds=_SKEW_S)

    @classmethod
    def utcnow(cls) -> _real:  # type: ignore[override]
        return _real.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=_SKEW_S)


time.time = lambda: _real_time() + _SKEW_S
datetime.datetime = _Skewed  # type: ignore[misc]
