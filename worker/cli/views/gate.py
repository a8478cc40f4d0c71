"""A verdict of the gate, and by what it was given, as people and scripts read it."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from worker.cli.printing import Console, Table, Text
from worker.core.counted import counted
from worker.core.policy.states import words
from worker.core.publication.alarm import threshold
from worker.core.publication.e_values import log_e_above, log_e_below
from worker.core.publication.evidence import MetricReading, Reading
from worker.core.publication.minimum import PASS_E, missing
from worker.core.publication.quarantine import log_e_of
from worker.core.publication.sentences import moment, percent
from worker.steps.publication.report import Explained

SUSPECTS: Final = 10
"""Suspects that are shown, the worst first."""

_MOST: Final = math.log(1e15)
_SOURCES: Final = {"v1": "V1's own", "waves": "waves before", "default": "default"}


def print_verdict(to: Console, found: Explained) -> None:
    """Print what the gate said of a wave, and what became of the wave."""
    wave, kept = found.wave, found.kept
    name = f"publication {found.publication.publication_id}, wave {wave.number} ({wave.label})"
    to.print(f"{name}: {words(wave.state)}")
    if kept is None:
        to.print("the gate has not looked at it yet")
    else:
        to.print(f"{kept.outcome}: {kept.sentence}")
    if wave.accepted_by:
        to.print(f"accepted by {wave.accepted_by}: {wave.accepted_reason}")


def print_evidence(to: Console, found: Explained) -> None:
    """Print by what the gate said so, and whether it says the same again."""
    if found.kept is None or found.again is None:
        return
    reading = found.kept.reading
    hours = (reading.until_s - reading.since_s) / 60
    whole = "" if reading.is_whole else "; it is still being published"
    to.print(
        f"window: {hours:,.1f} minutes until {found.kept.read_at:%Y-%m-%d %H:%M:%S} UTC{whole}"
    )
    to.print(f"bots out: {reading.bots:,}, in quarantine before: {reading.quarantined:,}")
    to.print(_metrics_table(reading))
    alarms = math.exp(threshold(reading.limits.alpha))
    to.print(
        f"a metric fails at E {alarms:,.0f} with two bots or more; it passes at E {PASS_E:,.0f}"
    )
    for line in _other_lines(reading):
        to.print(line)
    if reading.suspects:
        to.print(_suspects_table(reading))
    more = found.again.missing
    to.print(f"missing: {more:,} clean executions{_until(found)}" if more else "missing: nothing")
    to.print(_compared(found))


def _until(found: Explained) -> str:
    if found.again is None or found.again.until_s is None or found.kept is None:
        return ""
    minutes = (found.again.until_s - found.kept.reading.until_s) / 60
    return f", at this rate in {minutes:,.0f} minutes"


def _compared(found: Explained) -> str:
    if found.agrees or found.kept is None or found.again is None:
        return "judged again from what is stored: the same"
    again = f"{found.again.outcome}: {found.again.sentence}"
    return f"judged again from what is stored, it is ANOTHER verdict: {again}"


def _metrics_table(reading: Reading) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for name in ("n", "k", "bots", "p0", "p1", "E fails", "E passes", "control"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("p0 from", overflow="fold")
    for one in reading.metrics:
        table.add_row(*_metric_cells(one))
    return table


def _metric_cells(one: MetricReading) -> list[Text]:
    n, k = one.count.executions, one.count.failed
    control = one.control
    said = f"{control.failed:,}/{control.executions:,}" if control.executions else ""
    return [
        Text(one.metric),
        Text(f"{n:,}"),
        Text(f"{k:,}"),
        Text(f"{one.bots_failing:,}"),
        Text(percent(one.p0)),
        Text(percent(one.p1)),
        Text(e_value(log_e_above(k, n, one.p0))),
        Text(e_value(log_e_below(k, n, one.p1))),
        Text(said),
        Text(_SOURCES[one.source]),
    ]


def e_value(log_e: float) -> str:
    """An E-value from its logarithm, three digits that count.

    >>> e_value(0.0), e_value(-math.inf), e_value(math.log(20.04)), e_value(math.log(201_000))
    ('1', '0', '20', '201,000')
    >>> e_value(1e9)
    'over 1e15'
    """
    if log_e > _MOST:
        return "over 1e15"
    value = math.exp(log_e)
    if value < 100:
        return f"{value:.3g}" if value >= 0.001 or value == 0 else "below 0.001"
    digits = 10 ** (math.floor(math.log10(value)) - 2)
    return f"{round(value / digits) * digits:,}"


def _other_lines(reading: Reading) -> list[str]:
    recent, traffic, control = reading.recent, reading.traffic, reading.control_traffic
    lines = []
    if recent.count.executions:
        count = recent.count
        lines.append(
            f"last 5 minutes: {count.failed:,} of {count.executions:,} failed,"
            f" on {counted(recent.bots, 'bot')}"
        )
    if traffic.expected:
        lines.append(f"traffic: {traffic.seen:,} executions, expected {traffic.expected:,.1f}")
    if control.expected:
        lines.append(f"control: {control.seen:,} executions, expected {control.expected:,.1f}")
    return [*lines, *_alarm_lines(reading)]


def _alarm_lines(reading: Reading) -> list[str]:
    """What came since an alarm, or since single bots fell sick."""
    stands, later = reading.alarmed, reading.later
    if stands is None:
        return []
    what = "alarm" if stands.alarm is not None else "single bots sick"
    said = [
        f"{name} {came.failed:,} of {came.executions:,} failed, {came.running:,} running"
        for name, came in (
            ("wave", later.wave),
            ("sick bots", later.of_sick),
            ("bots out before", later.control),
        )
        if name != "sick bots" or stands.bots
    ]
    return [f"{what} since {moment(stands.at_s)}; since then: {'; '.join(said)}"]


def _suspects_table(reading: Reading) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("suspect", overflow="fold")
    for name in ("E", "failed", "executions", "expected"):
        table.add_column(name, justify="right", no_wrap=True)
    worst = sorted(reading.suspects, key=lambda bot: (-log_e_of(bot), bot.bot_id))
    for bot in worst[:SUSPECTS]:
        failed = next((m.count.failed for m in bot.metrics if m.metric == "failed"), 0)
        table.add_row(
            Text(bot.bot_id),
            Text(e_value(log_e_of(bot))),
            Text(f"{failed:,}"),
            Text(f"{bot.seen:,}"),
            Text(f"{bot.expected:,.1f}" if bot.expected else ""),
        )
    return table


def explained_fields(found: Explained, *, with_evidence: bool) -> dict[str, Any]:
    """A verdict for scripts; with the reading and what was computed again if asked for."""
    kept, wave = found.kept, found.wave
    fields: dict[str, Any] = {
        "publication_id": found.publication.publication_id,
        "wave": wave.number,
        "state": wave.state,
        "outcome": None if kept is None else kept.outcome,
        "sentence": None if kept is None else kept.sentence,
        "read_at": None if kept is None else kept.read_at.isoformat(),
        "accepted_by": wave.accepted_by,
        "accepted_reason": wave.accepted_reason,
        "agrees": found.agrees,
    }
    if with_evidence and kept is not None:
        fields["reading"] = msgspec.to_builtins(kept.reading)
        fields["again"] = msgspec.to_builtins(found.again)
        fields["metrics"] = [_metric_fields(one) for one in kept.reading.metrics]
    return fields


def _metric_fields(one: MetricReading) -> dict[str, Any]:
    n, k = one.count.executions, one.count.failed
    return {
        "metric": one.metric,
        "n": n,
        "k": k,
        "p0": one.p0,
        "p1": one.p1,
        "log_e_fails": _finite(log_e_above(k, n, one.p0)),
        "log_e_passes": _finite(log_e_below(k, n, one.p1)),
        "missing": missing(k, n, one.p1),
    }


def _finite(value: float) -> float | None:
    """JSON knows no infinity: None is an E-value of 0."""
    return value if math.isfinite(value) else None
