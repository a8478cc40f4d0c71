"""What requests to `flowshift serve` add up to in a short time: by duration, and by class of status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from worker.core.metrics.catalogue import CATALOGUE, HTTP_STATUSES, QUANTILES, REQUESTS
from worker.core.metrics.histogram import added, quantile
from worker.core.metrics.model import Sample

NO_ROUTE: Final = "none"
"""The route of a request that no handler got: refused at the door, or of an unknown path."""

ASIDE: Final = frozenset({NO_ROUTE, "/metrics", "/health/live", "/health/ready"})
"""Routes that say nothing of how long people and programs wait."""


class Window(msgspec.Struct, frozen=True):
    """How many requests took how long (a number for each bucket), and by class of status."""

    durations: tuple[int, ...] = ()
    statuses: tuple[int, ...] = ()

    @property
    def requests(self) -> int:
        """How many there are."""
        return sum(self.statuses)


def window_of(samples: Iterable[Sample]) -> Window:
    """The requests among samples, without those of probes, scrapes and of no route.

    >>> some = Sample(REQUESTS, 0.3, ("GET", "/runs", "2xx"), (0, 2))
    >>> window_of([some, Sample(REQUESTS, 9.0, ("GET", "/metrics", "2xx"), (0, 7))])
    Window(durations=(0, 2), statuses=(0, 2, 0, 0, 0))
    """
    durations: tuple[int, ...] = ()
    statuses = [0] * len(HTTP_STATUSES)
    for one in samples:
        if one.name != REQUESTS or one.labels[1] in ASIDE:
            continue
        durations = added(durations, one.counts)
        statuses[HTTP_STATUSES.index(one.labels[2])] += sum(one.counts)
    return Window(durations, tuple(statuses))


def together(windows: Iterable[Window]) -> Window:
    """Several as one.

    >>> together([Window((1,), (0, 1)), Window((2, 3), (1, 4))])
    Window(durations=(3, 3), statuses=(1, 5))
    """
    found = Window()
    for one in windows:
        found = Window(added(found.durations, one.durations), added(found.statuses, one.statuses))
    return found


def recent(window: Window) -> Iterator[Sample]:
    """The metrics of the last minutes; no duration where there was no request.

    >>> [one.value for one in recent(Window((4,), (0, 3, 0, 0, 1)))][:5]
    [0.0, 3.0, 0.0, 0.0, 1.0]
    """
    counts = added(window.statuses, (0,) * len(HTTP_STATUSES))
    for status, number in zip(HTTP_STATUSES, counts, strict=True):
        yield Sample("flowshift_http_recent_requests", float(number), (status,))
    bounds = CATALOGUE[REQUESTS].bounds
    for share in QUANTILES:
        value = quantile(share, window.durations, bounds)
        if value is not None:
            yield Sample("flowshift_http_recent_duration_seconds", value, (f"{share:g}",))
