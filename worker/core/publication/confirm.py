"""After an alarm: is it this wave, or an outage? Judged by what came since, of it and of others.

    alarm ─► others alarm too ─► outage
         ├─► the wave is well again ─► over
         ├─► the wave is sick still, and others are well ─► its own
         └─► else wait; at the deadline: sick still, and nobody else is ─► its own, else not known

In the first seconds of an outage a wave alarms before the bots that were out before do: their minute is
mostly from before it. So only what came after the alarm counts here, for both.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from worker.core.publication.alarm import alarms, is_silent
from worker.core.publication.alarmed import NONE_CAME, Alarm, Alarmed, Came
from worker.core.publication.baseline import Count, Metric
from worker.core.publication.e_values import log_e_above
from worker.core.publication.evidence import BotReading, MetricReading, Reading
from worker.core.publication.minimum import missing, passes

Found = Literal["waits", "its_own", "outage", "over", "not_known"]

WELL_E: Final = 100.0
"""The bots out before are well at this E-value: in one outage of a hundred at most they seem so."""

STILL_E: Final = 20.0
"""The wave is sick still at this E-value of what came since: two of two that failed, say."""

MOST_SICK: Final = 500
"""So many single bots are looked at by themselves, and taken back at once: the worst ones."""

ALONE_S: Final = 60
"""So long is waited for others of which nothing is seen at all."""

_HALF: Final = 0.5


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an alarm.

    `wave` and `control` are what was seen since, in the sense of the alarm's metric. While it `waits`,
    `missing` clean executions of the bots out before would show that it is this wave, and `until_s` is
    when the gate decides without them.
    """

    found: Found
    wave: Count
    control: Count
    metric: Metric = "failed"
    missing: int = 0
    until_s: float = 0.0


def confirm(reading: Reading, alarmed: Alarmed, alarm: Alarm) -> Confirmed:
    """What came of a wave's alarm, by the executions since it."""
    one = _metric(reading, alarmed, alarm)
    later = reading.later
    wave = (later.of_sick if alarm.kind == "quarantine" else later.wave).count(one.metric)
    others = _with_running(later.control, one.metric)
    claim = claimed(wave, one.p1)
    # Until the wave shows something again nobody knows what others have to refute.
    more = missing(others.failed, others.executions, claim, WELL_E) if wave.executions else 0
    said = Confirmed(
        found="waits",
        wave=wave,
        control=later.control.count(one.metric),
        metric=one.metric,
        missing=more,
        until_s=alarmed.at_s + _longest_s(reading, alarm),
    )
    if _is_outage(reading, alarm, one):
        return msgspec.structs.replace(said, found="outage")
    if _is_silence(reading, alarmed, alarm):
        return msgspec.structs.replace(said, found=_of_silence(reading, said))
    found = _of_executions(reading, said, one, claim)
    return msgspec.structs.replace(said, found=found)


def claimed(since: Count, p1: float) -> float:
    """The rate that others have to refute so that they are well: half of what the wave shows since.

    An outage that both share hits both, and when it ends, it ends for both. At least `p1`, which each
    wave has to refute anyhow, and at most 50 % unless `p1` is more.

    >>> claimed(Count(9, 9), 0.05), claimed(Count(10, 40), 0.05), claimed(Count(0, 0), 0.05)
    (0.5, 0.125, 0.05)
    """
    return max(p1, since.share / 2)


def is_still_sick(count: Count, p0: float) -> bool:
    """Whether what came since shows by itself that it is more than normal.

    >>> is_still_sick(Count(1, 1), 0.02), is_still_sick(Count(2, 2), 0.02)
    (False, True)
    """
    return log_e_above(count.failed, count.executions, p0) >= math.log(STILL_E)


def _of_executions(reading: Reading, said: Confirmed, one: MetricReading, claim: float) -> Found:
    wave, others = said.wave, said.control
    if passes(wave.failed, wave.executions, one.p1):
        return "over"
    is_sick = is_still_sick(wave, one.p0)
    if is_sick and said.missing == 0:
        return "its_own"
    # Nobody came: there is no hurry, and nothing is known.
    is_late = reading.until_s >= said.until_s + reading.limits.max_soak_s
    if reading.until_s < said.until_s or not (wave.executions or is_late):
        return "waits"
    is_shared = others.share >= claim
    is_sick = is_sick or wave.share >= _HALF
    return "its_own" if is_sick and not is_shared else "not_known"


def _of_silence(reading: Reading, said: Confirmed) -> Found:
    """What came breaks the silence, whatever became of it; others that are heard are well."""
    if said.wave.executions:
        return "over"
    if said.control.executions:
        return "its_own"
    if reading.until_s < said.until_s:
        return "waits"
    return "not_known" if reading.control_traffic.expected else "its_own"


def _is_outage(reading: Reading, alarm: Alarm, one: MetricReading) -> bool:
    """Whether the others alarm: since then, or in the minutes in which the wave was bad."""
    counts = [(reading.later.control.count(one.metric), one.p0), (one.control, one.p0)]
    if any(alarms(count, p0, reading) is not None for count, p0 in counts):
        return True
    return alarm.kind in ("quarantine", "silence") and is_silent(reading.control_traffic, reading)


def _is_silence(reading: Reading, alarmed: Alarmed, alarm: Alarm) -> bool:
    """Whether it is an alarm since nobody came, to the wave or to any of its sick bots."""
    sick = [bot for bot in reading.suspects if bot.bot_id in alarmed.bots]
    silent = bool(sick) and all(bot.seen == 0 for bot in sick)
    return alarm.kind == "silence" or (alarm.kind == "quarantine" and silent)


def _longest_s(reading: Reading, alarm: Alarm) -> float:
    """How long others are waited for: shorter where there seem to be none."""
    limits, control = reading.limits, reading.later.control
    is_any = control.executions or control.running or alarm.control.executions
    is_any = is_any or reading.control_traffic.expected > 0
    return limits.confirm_s if is_any else min(ALONE_S, limits.confirm_s)


def _with_running(came: Came, metric: Metric) -> Count:
    """What is running counts as bad: in an outage those that succeed end first."""
    count = came.count(metric)
    return Count(count.failed + came.running, count.executions + came.running)


def _metric(reading: Reading, alarmed: Alarmed, alarm: Alarm) -> MetricReading:
    """The metric that an alarm is about: of single bots the one by which they are the sickest."""
    if alarm.kind != "quarantine":
        named = (one for one in reading.metrics if one.metric == alarm.metric)
        return next(named, reading.failures)
    sick = [bot for bot in reading.suspects if bot.bot_id in alarmed.bots]
    return max(reading.metrics, key=lambda one: sum(_log_e(bot, one.metric) for bot in sick))


def _log_e(bot: BotReading, metric: Metric) -> float:
    found = (one for one in bot.metrics if one.metric == metric)
    return max((log_e_above(m.count.failed, m.count.executions, m.p0) for m in found), default=0.0)


# -- single bots -----------------------------------------------------------------------------------


class Sick(msgspec.Struct, frozen=True):
    """Single bots that are sick: those to take back `now`, and those `waiting` to be confirmed.

    `stands` is what the next look has to be told.
    """

    now: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    stands: Alarmed | None = None


def confirm_sick(reading: Reading, sick: tuple[str, ...]) -> Sick:
    """Which of the bots that are `sick` by now are sick still, while all others are well.

    Others are the rest of the wave and the bots out before: if these alarm too, it is begun again. A bot
    that falls sick later waits for its turn. At the deadline those are taken back whose executions do
    not succeed since, unless others fail as they do. One that stays out all the same keeps nothing waiting.
    """
    stands = reading.alarmed
    if not sick or not reading.limits.confirm_s:
        return Sick(now=sick)
    mine = tuple(bot_id for bot_id in sick if stands is not None and bot_id in stands.bots)
    others = "shared" if stands is None or _others_alarm(reading) else _others(reading)
    if stands is None or not mine or others == "shared":
        return Sick(waiting=sick, stands=_begun(reading, sick))
    is_late = reading.until_s >= stands.at_s + reading.limits.confirm_s
    now = tuple(one for one in mine if _is_bot_sick(reading, one, others, is_late=is_late))
    new = tuple(bot_id for bot_id in sick if bot_id not in mine)
    left = () if is_late else tuple(bot_id for bot_id in mine if bot_id not in now)
    if new and not left:
        return Sick(now, new, _begun(reading, sick))
    return Sick(now, (*left, *new), Alarmed(at_s=stands.at_s, bots=mine))


def _begun(reading: Reading, sick: tuple[str, ...]) -> Alarmed:
    return Alarmed(at_s=reading.until_s, bots=sick[:MOST_SICK])


def _others_alarm(reading: Reading) -> bool:
    others = reading.later.others.plus(reading.later.control)
    return any(alarms(others.count(m.metric), m.p0, reading) is not None for m in reading.metrics)


def _others(reading: Reading) -> Literal["well", "shared", "not_known"]:
    """How all others do since, held against half of what the sick bots show since."""
    one, later = reading.failures, reading.later
    others = later.others.plus(later.control)
    claim = claimed(later.of_sick.count(one.metric), one.p1)
    worst, count = _with_running(others, one.metric), others.count(one.metric)
    if passes(worst.failed, worst.executions, claim, WELL_E):
        return "well"
    return "shared" if count.share >= claim else "not_known"


def _is_bot_sick(reading: Reading, bot_id: str, others: str, *, is_late: bool) -> bool:
    came = reading.later.sick.get(bot_id, NONE_CAME)
    counts = [(came.count(one.metric), one.p0) for one in reading.metrics]
    is_silent_bot = any(bot.bot_id == bot_id and bot.seen == 0 for bot in reading.suspects)
    if others == "well" and (is_silent_bot or any(is_still_sick(*one) for one in counts)):
        return True
    return is_late and (came.executions == 0 or any(count.failed for count, _ in counts))
