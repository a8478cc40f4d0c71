"""What this process has counted and timed, and not yet added to the database's totals.

A batch takes it along in the transaction that ends it (`worker.db.measuring.totals`). It is gone with
its process: of one that is killed, what it measured since its last batch is not in the totals.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.histogram import added, bucket_of
from worker.core.metrics.model import Sample

Key = tuple[str, tuple[str, ...]]


class Measured:
    """Counts and times by metric and labels; any thread may add."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child, what the parent has measured is the parent's."""
        self._lock = threading.Lock()
        self._found: dict[Key, tuple[float, list[int]]] = {}

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Add an observation to a histogram, in its unit."""
        bounds = CATALOGUE[name].bounds
        place = bucket_of(value, bounds)
        with self._lock:
            total, counts = self._found.get((name, labels)) or (0.0, [0] * (len(bounds) + 1))
            counts[place] += 1
            self._found[name, labels] = total + value, counts

    def count(self, name: str, number: float, *labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            total, _ = self._found.get((name, labels)) or (0.0, [])
            self._found[name, labels] = total + number, []

    def take(self) -> list[Sample]:
        """All that was measured, once."""
        with self._lock:
            taken, self._found = self._found, {}
        return _samples(taken)

    def put_back(self, samples: Iterable[Sample]) -> None:
        """Take back what was taken and did not get into the totals."""
        with self._lock:
            for one in samples:
                value, counts = self._found.get((one.name, one.labels)) or (0.0, [])
                together = list(added(counts, one.counts))
                self._found[one.name, one.labels] = value + one.value, together

    @contextmanager
    def handed_over(self) -> Iterator[Callable[[], list[Sample]]]:
        """Gives a function that takes all; put back if the block, a transaction, raises."""
        handed: list[Sample] = []

        def take() -> list[Sample]:
            handed.extend(self.take())
            return list(handed)

        try:
            yield take
        except BaseException:
            self.put_back(handed)
            raise


def _samples(found: Mapping[Key, tuple[float, list[int]]]) -> list[Sample]:
    return [
        Sample(name, value, labels, tuple(counts))
        for (name, labels), (value, counts) in found.items()
    ]


MEASURED: Final = Measured()
"""Of this process."""

os.register_at_fork(after_in_child=MEASURED.forget)
