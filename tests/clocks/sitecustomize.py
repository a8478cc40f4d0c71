"""A wrong clock for the processes of a test: on PYTHONPATH, Python imports this before all else.

CLOCK_OFF_S says by how many seconds it is fast. The monotonic clock stays right, as it does where a
machine's clock is wrong.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from datetime import datetime as _datetime
from typing import Any

_OFF_S = int(os.environ.get("CLOCK_OFF_S", "0"))
_time, _time_ns = time.time, time.time_ns


class _Meta(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


class _WrongDatetime(_datetime, metaclass=_Meta):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return _datetime.now(tz) + dt.timedelta(seconds=_OFF_S)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(dt.timezone.utc).replace(tzinfo=None)  # noqa: UP017


if _OFF_S:
    time.time = lambda: _time() + _OFF_S
    time.time_ns = lambda: _time_ns() + _OFF_S * 1_000_000_000
    dt.datetime = _WrongDatetime  # type: ignore[misc]
