"""The control: the same minutes, and no others."""

from __future__ import annotations

from worker.core.publication.baseline import Count
from worker.core.publication.control import Minute, in_same_minutes


def test_only_minutes_in_which_the_wave_failed_count() -> None:
    quiet = [Minute(n, Count(0, 100)) for n in range(300)]
    wave = [Minute(300, Count(2, 5)), Minute(301, Count(4, 5)), Minute(302, Count(0, 5))]
    control = [
        *quiet,
        Minute(300, Count(30, 100)),
        Minute(301, Count(50, 90)),
        Minute(302, Count(9, 9)),
    ]

    assert in_same_minutes(wave, control) == Count(80, 190)


def test_a_wave_without_failures_has_no_control() -> None:
    assert in_same_minutes([Minute(1, Count(0, 5))], [Minute(1, Count(5, 5))]) == Count()
    assert in_same_minutes([], []) == Count()


def test_a_minute_that_comes_in_parts_counts_whole() -> None:
    parts = [Minute(1, Count(1, 2)), Minute(1, Count(0, 3))]
    assert in_same_minutes(parts, parts) == Count(1, 5)
