"""How long a backup will still take: by the pace since the first unit."""

from __future__ import annotations

from worker.steps.backup.progress import Meter, Moved


def test_time_before_the_first_unit_does_not_count_for_the_pace() -> None:
    now, seen = [0.0], list[Moved]()
    meter = Meter(seen.append, 2, clock=lambda: now[0])
    meter.begin("hash bots", "bots", 1_000)
    now[0] = 100.0  # sorting
    meter.at(100)
    assert seen[-1].eta_s is None
    now[0] = 102.0
    meter.at(300)
    assert seen[-1].eta_s == 7.0
    now[0] = 103.0
    meter.at(1_200)  # the estimate was too low
    assert (seen[-1].done, seen[-1].total) == (1_200, 1_200)
    assert not seen[-1].eta_s

    meter.begin("dump", "rows", 10)
    assert seen[-1] == Moved(2, 2, "dump", "rows", 0, 10)
    meter.add(4)
    meter.add(4)
    assert (seen[-1].done, seen[-1].eta_s) == (8, None)
