"""What happened between two readings: counters and histograms less what they were before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.model import Sample

Key = tuple[str, tuple[str, ...]]


def increase(before: Iterable[Sample], after: Iterable[Sample]) -> list[Sample]:
    """`after`, with counters and histograms less what they were `before`; gauges as they are.

    What was not there before counts from 0, and so does what has become less: the totals were begun
    anew, as after a restored backup, or by a process that started again.
    """
    known = {_key(one): one for one in before}
    return [_since(known, one) for one in after]


def _since(known: Mapping[Key, Sample], one: Sample) -> Sample:
    was = known.get(_key(one))
    if was is None or CATALOGUE[one.name].kind == "gauge" or _began_anew(was, one):
        return one
    counts = tuple(now - then for now, then in zip(one.counts, was.counts, strict=True))
    return msgspec.structs.replace(one, value=one.value - was.value, counts=counts)


def _began_anew(was: Sample, one: Sample) -> bool:
    return (
        one.value < was.value
        or len(one.counts) != len(was.counts)
        or any(now < then for now, then in zip(one.counts, was.counts, strict=True))
    )


def _key(one: Sample) -> Key:
    return one.name, one.labels
