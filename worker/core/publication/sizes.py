"""The sizes of waves: what `--waves` says, and how much each may take at most."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise
from typing import Final

import msgspec

DEFAULT_WAVES: Final = "1, canaries, 1 %, 10 %, 50 %, all"

GROWTH: Final = 10
"""A wave takes at most so many times what is out already."""

_COUNT: Final = re.compile(r"[0-9]{1,9}")
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")


class Step(msgspec.Struct, frozen=True):
    """One part of `--waves`.

    `text` as it is shown. One of: `bots`, so many bots more; `share`, until that share of all is
    out (0 to 1); neither for the canaries and for all.
    """

    text: str
    bots: int | None = None
    share: Fraction | None = None


CANARIES: Final = Step("canaries")
ALL: Final = Step("all")


def parse_waves(text: str) -> tuple[Step, ...]:
    """What `--waves` says: numbers of bots, `canaries`, shares that rise, and last `all`.

    A number is that many bots more; a share is reached once that part of all bots is out.

    Raises:
        ValueError: a part that is none of these, or is out of its order; says which.

    >>> [step.text for step in parse_waves("1, canaries, 0.5%, 10 %, all")]
    ['1', 'canaries', '0.5 %', '10 %', 'all']
    """
    steps = tuple(_step(part.strip().lower()) for part in text.split(","))
    if steps[-1] != ALL or ALL in steps[:-1]:
        raise ValueError(f"invalid waves {text!r}: `all` must be the last wave, and only that")
    if steps.count(CANARIES) > 1:
        raise ValueError(f"invalid waves {text!r}: `canaries` must be there at most once")
    shares = [step.share for step in steps if step.share is not None]
    if any(after <= share for share, after in pairwise(shares)):
        raise ValueError(
            f"invalid waves {text!r}: shares are of all bots, so each must be above the last"
        )
    if shares and CANARIES in steps[[step.share for step in steps].index(shares[0]) :]:
        raise ValueError(f"invalid waves {text!r}: `canaries` must come before the first share")
    return steps


def _step(part: str) -> Step:
    if part in {"canaries", "all"}:
        return CANARIES if part == "canaries" else ALL
    if _COUNT.fullmatch(part) and int(part) > 0:
        return Step(str(int(part)), bots=int(part))
    matched = _PERCENT.fullmatch(part)
    if matched and 0 < float(matched[1]) < 100:
        return Step(f"{matched[1]} %", share=Fraction(matched[1]) / 100)
    raise ValueError(
        f"invalid wave {part!r}: a number of bots from 1, a share above 0 % and below 100 %, `canaries` or"
        f" `all`, with commas between, such as {DEFAULT_WAVES!r}"
    )


class Wave(msgspec.Struct, frozen=True):
    """How many bots a wave takes, and the part of `--waves` that it is or leads to."""

    label: str
    size: int


def wave_sizes(steps: tuple[Step, ...], bots: int, canaries: int) -> tuple[Wave, ...]:
    """The waves of `bots` bots in their order, of which the first `canaries` are the canaries.

    A part that would take more than `GROWTH` times what is out is reached in several waves; one
    that would take nothing is left out. Every bot is in exactly one wave; without bots there is none.

    >>> [(wave.label, wave.size) for wave in wave_sizes(parse_waves(DEFAULT_WAVES), 2_000, 8)]
    [('1', 1), ('canaries', 7), ('1 %', 12), ('10 %', 180), ('50 %', 800), ('all', 1000)]
    >>> [(wave.label, wave.size) for wave in wave_sizes(parse_waves("1, all"), 500, 0)]
    [('1', 1), ('to all', 10), ('to all', 110), ('all', 379)]
    """
    waves: list[Wave] = []
    out = 0
    for step in steps:
        goal = min(bots, _goal(step, out, bots, canaries))
        while out < goal:
            size = goal - out if not waves else min(goal - out, GROWTH * out)
            waves.append(Wave(step.text if out + size == goal else f"to {step.text}", size))
            out += size
    return tuple(waves)


def _goal(step: Step, out: int, bots: int, canaries: int) -> int:
    """How many bots are out once this part is done."""
    if step.bots is not None:
        return out + step.bots
    if step.share is not None:
        return math.ceil(step.share * bots)
    return canaries if step == CANARIES else bots
