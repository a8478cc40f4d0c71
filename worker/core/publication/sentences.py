"""A verdict as a person reads it: what happened, against what is normal, what to do next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from worker.core.codes import quote
from worker.core.counted import counted, some
from worker.core.publication import statuses
from worker.core.publication.alarmed import Alarm
from worker.core.publication.baseline import Count, Metric
from worker.core.publication.confirm import Confirmed, Sick
from worker.core.publication.evidence import Reading

_DID: Final[dict[Metric, str]] = {
    "failed": "failed",
    "slow": "were slow",
    "costly": "were costly",
}
_SHOWN: Final = 3
_NEVER: Final = 1e9


def percent(rate: float) -> str:
    """A rate as a share of a hundred, two digits that count.

    >>> percent(0.02), percent(0.0844), percent(0.5), percent(0.0004)
    ('2 %', '8.4 %', '50 %', '0.04 %')
    """
    return f"{100 * rate:.2g} %" if rate < 0.995 else "100 %"


def chance(log_e: float) -> str:
    """How often a healthy wave would show as much, from the logarithm of its E-value.

    >>> chance(math.log(200_700)), chance(math.log(310)), chance(700.0)
    ('once in 200,000', 'once in 310', 'less than once in 1,000,000,000')
    """
    if log_e >= math.log(_NEVER):
        return f"less than once in {_NEVER:,.0f}"
    times = math.exp(log_e)
    unit = 10 ** max(0, math.floor(math.log10(times)) - 1)
    return f"once in {math.floor(times / unit) * unit:,}"


def duration(seconds: float) -> str:
    """A time to wait, rounded up.

    >>> duration(30), duration(3_600), duration(8_000), duration(200_000)
    ('1 minute', '60 minutes', '3 hours', '3 days')
    """
    if seconds <= 5_400:
        return _count(seconds / 60, "minute")
    return (
        _count(seconds / 3_600, "hour") if seconds <= 172_800 else _count(seconds / 86_400, "day")
    )


def _count(number: float, unit: str) -> str:
    return counted(math.ceil(number), unit)


def of_alarm(alarm: Alarm, reading: Reading) -> str:
    """Why the wave fails, and, where the control alarms too, why it is an outage."""
    said = _of_kind(alarm, reading)
    if not alarm.control_too:
        return said
    if alarm.kind == "silence":
        return f"{said}; nor to bots that were out before: an outage, and not this wave"
    if alarm.metric is None:
        return f"{said}; nobody comes to bots that were out before: an outage, and not this wave"
    also = _share(alarm.control, alarm.metric)
    return f"{said}; of bots that were out before, {also}: an outage, and not this wave"


def _of_kind(alarm: Alarm, reading: Reading) -> str:
    if alarm.kind == "brake":
        bots = counted(alarm.bots, "bot")
        return f"within 5 minutes {_share(alarm.count, 'failed')}, on {bots}: more than half"
    if alarm.kind == "quarantine":
        limit = percent(reading.limits.quarantined_share)
        sick = "is sick" if alarm.count.failed == 1 else "are sick"
        of = counted(alarm.count.executions, "bot")
        return f"{alarm.count.failed:,} of {of} {sick}, at most {limit} may be"
    if alarm.kind == "silence":
        came = counted(alarm.count.executions, "execution was", "executions were")
        return f"about {came} to come, and none came"
    seen = _share(alarm.count, alarm.metric or "failed")
    return (
        f"{seen}, normal is at most {percent(alarm.p0 or 0)}: by chance {chance(alarm.log_e or 0)}"
    )


def _share(count: Count, metric: Metric) -> str:
    return f"{count.failed:,} of {count.executions:,} {_DID[metric]}"


def of_confirmed(alarm: Alarm, found: Confirmed, reading: Reading) -> str:
    """What became of a wave's alarm, or for what it waits and until when."""
    said = _of_kind(alarm, reading)
    wave, others = _since(found.wave, found.metric), _since(found.control, found.metric)
    if found.found == "waits":
        return f"{said}; {_waiting(found)}"
    if found.found == "outage":
        return f"{said}; since then, of bots that were out before, {others}: an outage, and not this wave"
    if found.found == "over":
        return f"{said}; since then {wave}: it is over, and nothing is taken back"
    if found.found == "not_known":
        compared = f"{wave}, and of bots that were out before {others}"
        return f"{said}; since then {compared}: too little to say that it is this wave"
    return f"{said}; since then {wave}, and of bots that were out before {others}: it is this wave"


def _since(count: Count, metric: Metric) -> str:
    return _share(count, metric) if count.executions else "no execution came"


def _waiting(found: Confirmed) -> str:
    late = f"at {moment(found.until_s)} at the latest"
    if not found.missing:
        return f"held until it is seen whether it goes on, {late}"
    more = _count(found.missing, "clean execution")
    return f"held until bots that were out before show that they are well ({more} missing), {late}"


def moment(at_s: float) -> str:
    """A time of the day, from seconds since 1970.

    >>> moment(1_764_418_210.6)
    '12:10:10 UTC'
    """
    second = math.floor(at_s) % 86_400
    return f"{second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02} UTC"


def of_passing(reading: Reading) -> str:
    """By what the wave passes."""
    if reading.bots == 0:
        return "no bot of the wave is out: nothing to judge"
    said = [
        f"{_share(one.count, one.metric)}: a rate of {percent(one.p1)} is refuted"
        for one in reading.metrics
    ]
    return "; ".join(said)


def of_too_little(reading: Reading, more: int) -> str:
    """What is missing at the end of the soak."""
    return (
        f"{duration(reading.until_s - reading.since_s)} are over, and {_few(reading, more)}:"
        " accept the wave, or roll it back"
    )


def _few(reading: Reading, more: int) -> str:
    seen = reading.failures.count.executions
    return f"of {seen:,} executions too few are clean: {_count(more, 'clean execution')} missing"


def of_watching(reading: Reading, more: int, in_s: float | None, soak_s: float) -> str:
    """What is missing still, and until when."""
    parts = []
    if more:
        rate = "none has come yet" if in_s is None else f"at this rate in {duration(in_s)}"
        parts.append(f"{_count(more, 'clean execution')} missing, {rate}")
    if soak_s > 0:
        parts.append(f"the soak ends in {duration(soak_s)}")
    if not reading.is_whole:
        parts.append("the wave is still being published")
    return f"no alarm yet: {'; '.join(parts)}"


def of_unknown(reading: Reading) -> str:
    """Executions of statuses that the gate does not know, "" for none."""
    return f"; {statuses.said(reading.unknown)}: they count as nothing" if reading.unknown else ""


def of_quarantine(sick: Sick) -> str:
    """Which bots go back alone, and which may have to, "" for none.

    >>> of_quarantine(Sick(("b", "a"))), of_quarantine(Sick())
    ("; sick alone: 'b', 'a'", '')
    """
    said = f"; sick alone: {_named(sick.now)}" if sick.now else ""
    if not sick.waiting:
        return said
    return f"{said}; sick, unless all others are: {_named(sick.waiting)}"


def _named(bot_ids: Sequence[str]) -> str:
    return some([quote(one) for one in bot_ids], _SHOWN)
