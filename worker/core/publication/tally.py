"""What executions of a minute came to: counts that can be added, of bots and of the control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from worker.core.publication.baseline import METRICS, Count, Metric, Number, Sums

Who = Literal["wave", "waves", "v1"]
"""Whose executions: bots of the wave, those of waves that are out, or of V1."""

DIGITS: Final = {"failed": "1357", "slow": "2367", "costly": "4567"}
"""An execution is a digit: 1 failed, 2 slow, 4 costly, or their sum. Which digits count, by metric."""

FIRST: Final = 1_000
FIRST_OF_MANY: Final = 100
MANY: Final = 100
"""So many first executions of a bot are kept one by one, fewer where the wave has many bots: more than a
wave ever counts of one bot."""


def first_kept(bots: int) -> int:
    """How many first executions of each bot are kept in a wave of so many.

    >>> first_kept(99), first_kept(100)
    (1000, 100)
    """
    return FIRST if bots < MANY else FIRST_OF_MANY


class Tally(Sums, frozen=True):
    """The executions of a stretch of time.

    `timed` had a duration and `metered` a number of tokens; without one an execution is neither
    slow nor costly. `seen` are all that came, those included that count as nothing (yet).
    """

    timed: Number = 0
    metered: Number = 0
    seen: Number = 0

    def measures(self, metric: Metric) -> bool:
        """Whether the executions say anything about a metric.

        >>> Tally(5).measures("slow"), Tally(5, timed=1).measures("slow"), Tally().measures("slow")
        (False, True, True)
        """
        known = {"failed": self.executions, "slow": self.timed, "costly": self.metered}
        return known[metric] > 0 or self.executions == 0


NONE: Final = Tally()


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """Executions of one minute: of a bot of the wave, or of the control, where `bot_id` is empty.

    `first` has a digit for each of them in their order, as far as kept. `is_out`: the bot
    answers with this version now. `is_recent`: of the last five minutes.
    """

    who: Who
    minute_s: float
    tally: Tally
    bot_id: str = ""
    first: str = ""
    is_out: bool = True
    is_recent: bool = False


class Bot(msgspec.Struct, frozen=True):
    """A bot's executions, and the first of them one by one."""

    tally: Tally = NONE
    first: str = ""

    def plus(self, minute: Minute) -> Bot:
        """With those of a later minute."""
        return Bot(self.tally.plus(minute.tally), (self.first + minute.first)[:FIRST])


def by_bot(minutes: Sequence[Minute]) -> dict[str, Bot]:
    """The wave's executions by bot."""
    bots: dict[str, Bot] = {}
    for one in sorted(minutes, key=lambda one: (one.minute_s, one.is_recent)):
        if one.who == "wave":
            bots[one.bot_id] = bots.get(one.bot_id, Bot()).plus(one)
    return bots


def bad_minutes(minutes: Sequence[Minute], metric: Metric) -> frozenset[float]:
    """The minutes in which an execution of the wave was bad, in the sense of a metric."""
    return frozenset(
        one.minute_s for one in minutes if one.who == "wave" and getattr(one.tally, metric)
    )


def control_of(minutes: Sequence[Minute]) -> dict[tuple[Who, Metric], Count]:
    """What the control did in the minutes in which the wave was bad: by who and metric."""
    bad = {metric: bad_minutes(minutes, metric) for metric in METRICS}
    found: dict[tuple[Who, Metric], Count] = {}
    for one in minutes:
        for metric in METRICS:
            if one.who != "wave" and one.minute_s in bad[metric]:
                before = found.get((one.who, metric), Count())
                found[one.who, metric] = before.plus(one.tally.count(metric))
    return found


def columns_of(tallies: Sequence[Tally]) -> dict[str, list[int]]:
    """By field a list of what each tally has there.

    >>> columns_of([Tally(3, 1), Tally(2)])["executions"]
    [3, 2]
    """
    return {name: [getattr(one, name) for one in tallies] for name in Tally.__struct_fields__}
