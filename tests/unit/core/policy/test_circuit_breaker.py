"""The guard: from 50 bots on, more than the share failing with one code stops the run."""

from __future__ import annotations

import pytest

from worker.core.policy.circuit_breaker import WINDOW_BOTS, Window, trip_reason, window


def test_the_window_is_the_newest_batches_that_hold_enough_bots() -> None:
    batches = [(WINDOW_BOTS - 1, {"failed:cycle": 1}), (500, {"failed:cycle": 2})]

    assert window([*batches, (500, {"failed:cycle": 400})]) == Window(1_499, {"cycle": 3})


def test_skips_are_no_failures() -> None:
    assert window([(60, {"skipped:no_workflow": 60})]).failed == {}


@pytest.mark.parametrize(
    ("bots", "failed", "share", "stops"),
    [
        (49, 49, 0.5, False),
        (50, 25, 0.5, False),
        (50, 26, 0.5, True),
        (1_000, 101, 0.1, True),
        (1_000, 100, 0.1, False),
        (50, 1, 0.0, True),
        (50, 50, 1.0, False),
    ],
)
def test_the_share_is_exact(bots: int, failed: int, share: float, stops: bool) -> None:
    assert (trip_reason(Window(bots, {"cycle": failed}), share) is not None) is stops


def test_codes_are_counted_one_by_one() -> None:
    assert trip_reason(Window(100, {"cycle": 40, "no_nodes": 40}), 0.5) is None


def test_the_reason_names_the_worst_code() -> None:
    assert trip_reason(Window(100, {"cycle": 30, "no_nodes": 70}), 0.5) == (
        "70 of the last 100 bots (70%) failed with no_nodes, more than 50%"
    )
