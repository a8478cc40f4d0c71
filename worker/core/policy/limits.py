"""The limits of a run, and the bounds of each."""

from __future__ import annotations

from typing import Final

from worker.errors import UsageError

RATES: Final = (0.01, 1_000_000.0)
"""Bots a second."""

CONCURRENCIES: Final = (1, 1_000)
"""Batches at once."""

BATCH_SIZES: Final = (1, 10_000)
"""Bots in a batch."""

BATCH_WINDOWS: Final = (1, 1_000)
"""Batches in the queue."""

SHARES: Final = (0.0, 1.0)
"""Shares of bots that fail with one code."""


def check_limits(
    *,
    max_rate: float | None = None,
    concurrency: int | None = None,
    batch_window: int | None = None,
    batch_size: int | None = None,
    max_failures: float | None = None,
) -> None:
    """Raise UsageError if a limit of a run is out of its bounds; None is no limit.

    >>> check_limits(max_rate=0.001)
    Traceback (most recent call last):
    ...
    worker.errors.UsageError: the max rate must be from 0.01 to 1,000,000 (it is 0.001)
    """
    for name, value, (low, high) in (
        ("max rate", max_rate, RATES),
        ("concurrency", concurrency, CONCURRENCIES),
        ("batch window", batch_window, BATCH_WINDOWS),
        ("batch size", batch_size, BATCH_SIZES),
        ("share of failures", max_failures, SHARES),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"the {name} must be from {low:,g} to {high:,.10g} (it is {value})")
