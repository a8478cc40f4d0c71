"""What a batch that is done adds to the totals of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.histogram import bucket_of
from worker.core.metrics.model import Sample
from worker.core.policy.progress import Counts
from worker.core.policy.states import RunKind

_WITHOUT_CODE: Final = ("converted", "unchanged", "published", "rolled_back")
DURATION: Final = "flowshift_batch_duration_seconds"


def totals_of(
    kind: RunKind, counts: Counts, codes: Mapping[str, int], duration_ms: int, *, dry_run: bool
) -> list[Sample]:
    """The batch with its duration, and, unless it was a dry run, its bots by outcome and code."""
    bounds, duration_s = CATALOGUE[DURATION].bounds, duration_ms / 1000
    place = bucket_of(duration_s, bounds)
    buckets = tuple(int(number == place) for number in range(len(bounds) + 1))
    batch = Sample(DURATION, duration_s, (kind,), buckets)
    return [batch] if dry_run else [batch, *_bots(kind, counts, codes)]


def _bots(kind: RunKind, counts: Counts, codes: Mapping[str, int]) -> Iterator[Sample]:
    for outcome in _WITHOUT_CODE:
        if number := getattr(counts, outcome):
            yield Sample("flowshift_bots", number, (kind, outcome, ""))
    for key, number in codes.items():
        outcome, _, code = key.partition(":")
        yield Sample("flowshift_bots", number, (kind, outcome, code))
    if counts.validated:
        yield Sample("flowshift_bots_validated", counts.validated, (kind,))
    if counts.warnings:
        yield Sample("flowshift_draft_warnings", counts.warnings, (kind,))
