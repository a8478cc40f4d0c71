"""Alarms: what makes a wave fail, and whether the bots that were out before alarm as well."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from worker.core.publication.baseline import METRICS, NOTHING, Count, Metric
from worker.core.publication.e_values import log_e_above
from worker.core.publication.evidence import Reading, Traffic
from worker.core.publication.quarantine import log_e_silent

Kind = Literal["brake", "rate", "quarantine", "silence"]

BRAKE_EXECUTIONS: Final = 20
BRAKE_S: Final = 300
"""The brake looks at this many executions at least, of the last five minutes."""

LEAST_BOTS: Final = 2
"""A wave fails only where executions of so many bots failed: one loud bot does not decide."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Why a wave fails.

    `count` is what was seen of `metric`: executions; for `quarantine` bots, for `silence` none of
    the executions that were to come. `log_e` is the logarithm of its E-value, None if none
    decides. `control_too`: the bots that were out before alarm too, so that it is an outage.
    """

    kind: Kind
    count: Count
    metric: Metric | None = None
    bots: int = 0
    p0: float | None = None
    log_e: float | None = None
    control: Count = NOTHING
    control_too: bool = False


def threshold(alpha: float) -> float:
    """The logarithm of the E-value at which one of the three metrics alarms.

    >>> round(math.exp(threshold(0.01)))
    300
    """
    return math.log(len(METRICS) / alpha)


def first_alarm(reading: Reading, sick: int) -> Alarm | None:
    """The first alarm of a reading in which `sick` more bots are to be quarantined; None without.

    In this order: the brake, each metric, too many bots in quarantine, silence.
    """
    return _brake(reading) or _rates(reading) or _quarantine(reading, sick) or _silence(reading)


def _alarms(count: Count, p0: float, reading: Reading) -> float | None:
    """The logarithm of the E-value where it is high enough."""
    log_e = log_e_above(count.failed, count.executions, p0)
    return log_e if log_e >= threshold(reading.limits.alpha) else None


def _brake(reading: Reading) -> Alarm | None:
    """More than 50 % of the last five minutes' executions failed, and that is not the normal rate."""
    recent, p0 = reading.recent, reading.failures.p0
    # An outage of seconds is lost among five minutes: then the minutes with failures show it.
    control = recent.control
    if _alarms(control, p0, reading) is None:
        control = reading.failures.control
    count = recent.count
    if count.executions < BRAKE_EXECUTIONS or recent.bots < LEAST_BOTS:
        return None
    if 2 * count.failed <= count.executions or _alarms(count, p0, reading) is None:
        return None
    return Alarm(
        kind="brake",
        metric="failed",
        count=count,
        bots=recent.bots,
        p0=p0,
        control=control,
        control_too=_alarms(control, p0, reading) is not None,
    )


def _rates(reading: Reading) -> Alarm | None:
    for one in reading.metrics:
        log_e = _alarms(one.count, one.p0, reading)
        if log_e is not None and one.bots_failing >= LEAST_BOTS:
            return Alarm(
                kind="rate",
                metric=one.metric,
                count=one.count,
                bots=one.bots_failing,
                p0=one.p0,
                log_e=log_e,
                control=one.control,
                control_too=_alarms(one.control, one.p0, reading) is not None,
            )
    return None


def _quarantine(reading: Reading, sick: int) -> Alarm | None:
    """Too many sick bots; or any, while the control alarms, when nothing shows which are sick."""
    control = next(
        (m for m in reading.metrics if _alarms(m.control, m.p0, reading) is not None), None
    )
    quarantined = reading.quarantined + sick
    too_many = quarantined > reading.limits.quarantined_share * reading.bots
    control_too = control is not None or _is_silent(reading.control_traffic, reading)
    if not sick or not (too_many or control_too):
        return None
    return Alarm(
        kind="quarantine",
        count=Count(quarantined, reading.bots),
        bots=quarantined,
        metric=control.metric if control else None,
        control=control.control if control else NOTHING,
        control_too=control_too,
    )


def _silence(reading: Reading) -> Alarm | None:
    if not _is_silent(reading.traffic, reading):
        return None
    return Alarm(
        kind="silence",
        count=Count(0, math.floor(reading.traffic.expected)),
        log_e=reading.traffic.expected,
        control=Count(reading.control_traffic.seen, math.floor(reading.control_traffic.expected)),
        control_too=_is_silent(reading.control_traffic, reading),
    )


def _is_silent(traffic: Traffic, reading: Reading) -> bool:
    return log_e_silent(traffic.expected, traffic.seen) >= threshold(reading.limits.alpha)
