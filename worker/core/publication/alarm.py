"""Alarms: what makes a wave fail, and whether the bots that were out before alarm as well."""

from __future__ import annotations

import math
from typing import Final

from worker.core.publication.alarmed import Alarm
from worker.core.publication.baseline import METRICS, NOTHING, Count
from worker.core.publication.e_values import log_e_above
from worker.core.publication.evidence import Reading, Traffic
from worker.core.publication.quarantine import log_e_silent

BRAKE_EXECUTIONS: Final = 20
BRAKE_S: Final = 300
"""The brake looks at this many executions at least, of the last five minutes."""

LEAST_BOTS: Final = 2
"""A wave fails only where executions of so many bots failed: one loud bot does not decide."""


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


def alarms(count: Count, p0: float, reading: Reading) -> float | None:
    """The logarithm of the E-value where it is high enough."""
    log_e = log_e_above(count.failed, count.executions, p0)
    return log_e if log_e >= threshold(reading.limits.alpha) else None


def _brake(reading: Reading) -> Alarm | None:
    """More than 50 % of the last five minutes' executions failed, and that is not the normal rate."""
    recent, p0 = reading.recent, reading.failures.p0
    # An outage of seconds is lost among five minutes: then the minutes with failures show it.
    control = recent.control
    if alarms(control, p0, reading) is None:
        control = reading.failures.control
    count = recent.count
    if count.executions < BRAKE_EXECUTIONS or recent.bots < LEAST_BOTS:
        return None
    if 2 * count.failed <= count.executions or alarms(count, p0, reading) is None:
        return None
    return Alarm(
        kind="brake",
        metric="failed",
        count=count,
        bots=recent.bots,
        p0=p0,
        control=control,
        control_too=alarms(control, p0, reading) is not None,
    )


def _rates(reading: Reading) -> Alarm | None:
    for one in reading.metrics:
        log_e = alarms(one.count, one.p0, reading)
        if log_e is not None and one.bots_failing >= LEAST_BOTS:
            return Alarm(
                kind="rate",
                metric=one.metric,
                count=one.count,
                bots=one.bots_failing,
                p0=one.p0,
                log_e=log_e,
                control=one.control,
                control_too=alarms(one.control, one.p0, reading) is not None,
            )
    return None


def _quarantine(reading: Reading, sick: int) -> Alarm | None:
    """Too many sick bots; or any, while the control alarms, when nothing shows which are sick."""
    control = next(
        (m for m in reading.metrics if alarms(m.control, m.p0, reading) is not None), None
    )
    quarantined = reading.quarantined + sick
    too_many = quarantined > reading.limits.quarantined_share * reading.bots
    control_too = control is not None or is_silent(reading.control_traffic, reading)
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
    if not is_silent(reading.traffic, reading):
        return None
    return Alarm(
        kind="silence",
        count=Count(0, math.floor(reading.traffic.expected)),
        log_e=reading.traffic.expected,
        control=Count(reading.control_traffic.seen, math.floor(reading.control_traffic.expected)),
        control_too=is_silent(reading.control_traffic, reading),
    )


def is_silent(traffic: Traffic, reading: Reading) -> bool:
    return log_e_silent(traffic.expected, traffic.seen) >= threshold(reading.limits.alpha)
