"""Simulate what hits a wave: an outage that others share, or a fault of its own; and what the gate does.

`python -m bench.outages` prints the table of docs/explanation/gate.md; the same seed, the same table.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from worker.core.publication.alarmed import Alarmed, Came, Later
from worker.core.publication.baseline import Count
from worker.core.publication.evidence import Limits, MetricReading, Reading, Recent
from worker.core.publication.gate import Outcome, judge

LOOK_S: Final = 30.0
TAKES_S: Final = 3.0
"""So long an execution takes: until then it is running."""

BEFORE_S: Final = 600.0
NORMAL: Final = 0.01
P0: Final = 0.02
P1: Final = 0.05
LIMITS: Final = Limits(min_soak_s=86_400, max_soak_s=86_400, confirm_s=300)
BOTS: Final = 100

Executions = Sequence[tuple[float, bool]]
"""When each began, and whether it fails."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What happens: from a moment drawn between two looks on, executions fail at `rate`.

    For `lasts_s`, of the wave, and of the others if it `is_shared`. Executions a minute.
    """

    rate: float
    wave: float
    others: float
    is_shared: bool
    lasts_s: float = 86_400.0


class Ended(msgspec.Struct, frozen=True):
    """What the gate decided in the end, and how long after the trouble and after its alarm.

    `executions` of the wave came from the trouble on until it was decided.
    """

    outcome: Outcome
    after_s: float
    confirmed_s: float
    executions: int


def happens(rng: random.Random, trouble: Trouble, *, limits: Limits = LIMITS) -> Ended | None:
    """Look at a wave that is hit by it, every `LOOK_S`; None if half an hour decides nothing."""
    begins = BEFORE_S + rng.uniform(0, LOOK_S)
    ends = begins + 1_800
    wave = list(_executions(rng, trouble.wave, begins, ends, trouble, is_hit=True))
    others = list(_executions(rng, trouble.others, begins, ends, trouble, is_hit=trouble.is_shared))
    stands: Alarmed | None = None
    now = LOOK_S
    while now < ends:
        verdict = judge(_reading(wave, others, now, stands, limits))
        if verdict.outcome in ("failed", "disturbed"):
            held_at = stands.at_s if stands else now
            came = _until(wave, now) - _until(wave, begins)
            return Ended(verdict.outcome, now - begins, now - held_at, came)
        stands = verdict.stands
        now += LOOK_S
    return None


def _executions(
    rng: random.Random, rate: float, begins: float, ends: float, trouble: Trouble, *, is_hit: bool
) -> Iterator[tuple[float, bool]]:
    at = 0.0
    while rate and (at := at + rng.expovariate(rate / 60)) < ends:
        is_on = is_hit and begins <= at < begins + trouble.lasts_s
        yield at, rng.random() < (trouble.rate if is_on else NORMAL)


def _until(executions: Executions, at: float) -> int:
    return bisect_left(executions, (at, False))


def _reading(
    wave: Executions, others: Executions, now: float, stands: Alarmed | None, limits: Limits
) -> Reading:
    known = now - TAKES_S
    seen, control = wave[: _until(wave, known)], others[: _until(others, known)]
    bad = {int(at // 60) for at, is_bad in seen if is_bad}
    recent = seen[_until(seen, now - 300) :]
    later = Later()
    if stands is not None:
        later = Later(
            others=_came(wave, stands.at_s, known, now),
            control=_came(others, stands.at_s, known, now),
        )
    return Reading(
        publication_id=1,
        wave=2,
        bots=BOTS,
        since_s=0.0,
        until_s=now,
        metrics=(
            MetricReading(
                metric="failed",
                count=_count(seen),
                bots_failing=min(BOTS, _count(seen).failed),
                p0=P0,
                source="default",
                p1=P1,
                control=_count([one for one in control if int(one[0] // 60) in bad]),
            ),
        ),
        recent=Recent(
            count=_count(recent),
            bots=min(BOTS, _count(recent).failed),
            control=_count(control[_until(control, now - 300) :]),
        ),
        alarmed=stands,
        later=later,
        limits=limits,
    )


def _count(executions: Executions) -> Count:
    return Count(sum(is_bad for _, is_bad in executions), len(executions))


def _came(executions: Executions, since: float, known: float, now: float) -> Came:
    first, ended, begun = (_until(executions, at) for at in (since, max(since, known), now))
    count = _count(executions[first:ended])
    return Came(executions=count.executions, failed=count.failed, running=begun - ended)


# -- the table -------------------------------------------------------------------------------------

_OUTAGES: Final = (
    ("outage of 30 seconds", 30.0),
    ("outage of 2 minutes", 120.0),
    ("outage that lasts", 86_400.0),
)
_RATES: Final = (0.5, 0.9, 1.0)
_TRAFFIC: Final = ((60.0, 150.0), (60.0, 20.0), (200.0, 20.0), (20.0, 5.0))
"""Executions a minute of the wave, and of the bots that were out before."""


def troubles(*, is_shared: bool) -> list[tuple[str, Trouble]]:
    """What the table is of: with a name each."""
    found = []
    for wave, others in _TRAFFIC:
        for name, lasts_s in _OUTAGES if is_shared else (("fault of its own", 86_400.0),):
            for rate in _RATES if is_shared else (0.12, 0.25, *_RATES):
                trouble = Trouble(
                    rate=rate, wave=wave, others=others, is_shared=is_shared, lasts_s=lasts_s
                )
                found.append((name, trouble))
    return found


def rows(seed: int, count: int) -> list[str]:
    """The table, a line for each trouble."""
    lines = [
        "| what happens | a minute | failed | disturbed | decided after the alarm | begin | executions |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, trouble in (*troubles(is_shared=True), *troubles(is_shared=False)):
        rng = random.Random(f"{seed} {trouble}")
        ended = [one for one in (happens(rng, trouble) for _ in range(count)) if one is not None]
        shares = [sum(e.outcome == o for e in ended) / count for o in ("failed", "disturbed")]
        medians = [
            statistics.median([getattr(one, what) for one in ended] or [0])
            for what in ("confirmed_s", "after_s", "executions")
        ]
        said = f"| {name}, {trouble.rate:.0%} fail | {trouble.wave:g}, {trouble.others:g} |"
        said += "".join(f" {share:.1%} |" for share in shares)
        lines.append(f"{said} {medians[0]:,.0f} s | {medians[1]:,.0f} s | {medians[2]:,.0f} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was simulated; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.outages", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=200, help="how often each trouble")
    given = parser.parse_args(arguments)
    for line in rows(given.seed, given.each):
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
