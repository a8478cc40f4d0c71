"""What the gate judges by: everything that a verdict depends on, as data that can be stored.

`decode(encode(reading))` is the reading again, so that a verdict is recomputed from what is stored.
Times are seconds since 1970 by the database's clock.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from worker.core.publication.alarmed import Alarmed, Later
from worker.core.publication.baseline import NOTHING, Count, Metric, Number, Source

Rate = Annotated[float, Meta(gt=0, lt=1)]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """By what a wave is judged.

    `alpha` is the share of healthy waves that may fail by chance, over all three metrics;
    `false_quarantines` the share of healthy ones among quarantined bots; `quarantined_share` the
    share of a wave's bots above which quarantine makes it fail. After an alarm the bots that were out
    before are looked at for `confirm_s` at most (`worker.core.publication.confirm`); with 0 an alarm
    decides at once.
    """

    alpha: Rate = 0.01
    false_quarantines: Rate = 0.05
    quarantined_share: Rate = 0.01
    min_soak_s: Number = 30 * 60
    max_soak_s: Number = 24 * 3_600
    confirm_s: Number = 0


class MetricReading(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of a wave.

    `count` is of the executions that count (`minimum.cap`), on whose `bots_failing` bots some
    failed. `p0` is normal, by `source`; `p1` is to be refuted. `control` is of the bots that were
    out before, in the minutes in which executions of this wave failed.
    """

    metric: Metric
    count: Count
    bots_failing: Number
    p0: Rate
    source: Source
    p1: Rate
    control: Count = NOTHING


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """The last five minutes of a wave, every execution; `control` of the bots out before."""

    count: Count = NOTHING
    bots: Number = 0
    control: Count = NOTHING


class BotMetric(msgspec.Struct, frozen=True):
    """One metric of one bot, every execution, and the rate that is normal for it."""

    metric: Metric
    count: Count
    p0: Rate


class BotReading(msgspec.Struct, frozen=True, kw_only=True):
    """One bot of a wave. `expected` is how many executions should have come, 0 where unknown."""

    bot_id: str
    metrics: tuple[BotMetric, ...] = ()
    expected: float = 0.0
    seen: Number = 0


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """How many executions should have come, 0 where that is unknown, and how many did."""

    expected: float = 0.0
    seen: Number = 0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of a wave at one look.

    `bots` is how many of it are out, those in quarantine included; `quarantined` how many of them
    went back before, whose executions no longer count. `suspects` holds at least each bot whose
    E-value can matter (`quarantine.is_suspect`). `is_whole` is false while the wave is still being
    published: then it can fail, and not pass. `alarmed` is an alarm that stands, and `later` what came
    since. `unknown` are statuses of executions that are not known, with how many have each.

    Raises:
        ValueError: it does not measure failures, or one metric twice, or its times run backwards.
    """

    publication_id: int
    wave: int
    bots: Number
    quarantined: Number = 0
    since_s: float
    until_s: float
    is_whole: bool = True
    metrics: tuple[MetricReading, ...]
    suspects: tuple[BotReading, ...] = ()
    recent: Recent = Recent()
    traffic: Traffic = Traffic()
    control_traffic: Traffic = Traffic()
    unknown: tuple[tuple[str, int], ...] = ()
    alarmed: Alarmed | None = None
    later: Later = Later()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        names = [one.metric for one in self.metrics]
        if "failed" not in names or len(set(names)) != len(names):
            raise ValueError("a reading measures failures, and each metric once")
        if self.until_s < self.since_s:
            raise ValueError("a reading cannot end before it begins")

    @property
    def failures(self) -> MetricReading:
        """The metric that every reading has."""
        return next(one for one in self.metrics if one.metric == "failed")


def shown(reading: Reading) -> tuple[object, ...]:
    """What a reading shows of its wave, the time aside: two looks that show the same are equal."""
    metrics = ((m.metric, m.count, m.bots_failing, m.p0, m.p1) for m in reading.metrics)
    return (
        reading.bots,
        reading.quarantined,
        reading.is_whole,
        reading.since_s,
        tuple(bot.bot_id for bot in reading.suspects),
        reading.unknown,
        reading.alarmed,
        reading.later,
        *metrics,
    )


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Reading)


def encode(reading: Reading) -> bytes:
    """A reading as JSON; the same reading, the same bytes."""
    return _encoder.encode(reading)


def decode(text: bytes | str) -> Reading:
    """A reading from JSON.

    Raises:
        ValueError: it is none (msgspec's errors are ValueErrors).
    """
    return _decoder.decode(text)
