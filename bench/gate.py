"""Simulate waves against the gate: how often a healthy one fails, and how soon a sick one does.

`python -m bench.gate` prints the table of docs/explanation/gate.md; the same seed, the same table.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from worker.core.publication.alarm import threshold
from worker.core.publication.coverage import Candidate
from worker.core.publication.e_values import log_e_above
from worker.core.publication.minimum import passes
from worker.core.publication.sizes import DEFAULT_WAVES, parse_waves
from worker.core.publication.waves import Wishes, plan_waves

P0: Final = 0.02
P1: Final = 0.05
ALPHA: Final = 0.01


class Ended(msgspec.Struct, frozen=True):
    """When the first alarm came and when the wave passed, in executions; None for never."""

    alarm: int | None
    passed: int | None


def a_wave(rng: random.Random, rate: float, looks: int, *, p0: float = P0, p1: float = P1) -> Ended:
    """A wave whose executions fail at `rate`, looked at after each of them, `looks` times.

    It goes on after it has passed, as long as there is no alarm: an alarm may come at any look.
    """
    failed, passed, limit = 0, None, threshold(ALPHA)
    for seen in range(1, looks + 1):
        failed += rng.random() < rate
        if log_e_above(failed, seen, p0) >= limit:
            return Ended(seen, passed)
        if passed is None and passes(failed, seen, p1):
            passed = seen
    return Ended(None, passed)


def waves(
    rng: random.Random, rate: float, count: int, looks: int, *, p0: float = P0, p1: float = P1
) -> list[Ended]:
    """`count` waves of one rate."""
    return [a_wave(rng, rate, looks, p0=p0, p1=p1) for _ in range(count)]


def median(numbers: Sequence[int | None]) -> float | None:
    """The median, those that never came the last; None if most never came."""
    if 2 * sum(number is None for number in numbers) >= len(numbers):
        return None
    return statistics.median([float("inf") if number is None else number for number in numbers])


def rows(seed: int, count: int, looks: int) -> list[str]:
    """The table of docs/explanation/gate.md, a line for each rate."""
    lines = [
        "| executions fail | waves that alarm | median until then | pass before | median until then |"
    ]
    lines.append("| --- | --- | --- | --- | --- |")
    for rate in (0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.25, 0.5, 0.9):
        ended = waves(random.Random(f"{seed} {rate}"), rate, count, looks)
        alarms = sum(one.alarm is not None for one in ended)
        first = sum(one.passed is not None for one in ended)
        shown = [median([one.alarm for one in ended]), median([one.passed for one in ended])]
        until_alarm, until_pass = ("–" if one is None else f"{one:,.0f}" for one in shown)
        cells = f"{alarms / count:.1%} | {until_alarm} | {first / count:.1%} | {until_pass}"
        lines.append(f"| {rate * 100:g} % | {cells} |")
    return lines


def planning_s(bots: int) -> float:
    """How long it takes to put so many bots into waves, in seconds."""
    candidates = [Candidate(f"bot-{n}", frozenset({"llm", f"k{n % 300}"})) for n in range(bots)]
    started = time.perf_counter()
    plan_waves(candidates, parse_waves(DEFAULT_WAVES), salt="1", wishes=Wishes())
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was measured; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--waves", type=int, default=2_000)
    parser.add_argument("--looks", type=int, default=1_000)
    parser.add_argument("--bots", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    for line in rows(given.seed, given.waves, given.looks):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"\n{given.bots:,} bots into waves: {planning_s(given.bots):.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
