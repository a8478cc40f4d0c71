"""Series that are there before anything happened: a value of 0 for each combination of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.model import Sample


def zeroed(name: str, seen: Iterable[tuple[str, ...]]) -> Iterator[Sample]:
    """How often each combination of a gauge's labels was seen; 0 for those that were not."""
    return valued(name, Counter(seen))


def valued(name: str, values: Mapping[tuple[str, ...], float]) -> Iterator[Sample]:
    """A sample for each combination of a gauge's labels; 0 where there is no value."""
    combinations = product(*(label.values for label in CATALOGUE[name].labels))
    for labels in dict.fromkeys((*combinations, *values)):
        yield Sample(name, float(values.get(labels, 0)), labels)
