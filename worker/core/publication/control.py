"""The control: what happened to the bots that were out before, in the same minutes."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from worker.core.publication.baseline import Count


class Minute(msgspec.Struct, frozen=True):
    """The executions of one minute, numbered since 1970."""

    minute: int
    count: Count


def in_same_minutes(wave: Iterable[Minute], control: Iterable[Minute]) -> Count:
    """The control's executions in the minutes in which executions of the wave failed.

    Over the whole time a short outage would be lost among hours in which nothing was wrong.

    >>> wave = [Minute(1, Count(0, 9)), Minute(2, Count(3, 9))]
    >>> in_same_minutes(wave, [Minute(1, Count(0, 500)), Minute(2, Count(20, 50)), Minute(3, Count(1, 50))])
    Count(failed=20, executions=50)
    """
    failing = {one.minute for one in wave if one.count.failed}
    same = [one.count for one in control if one.minute in failing]
    return Count(sum(one.failed for one in same), sum(one.executions for one in same))
