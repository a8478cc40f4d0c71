"""The gate: what a wave's executions say, at any look, as often as one likes.

    reading ─► alarm? ─► control alarms too? ─► disturbed
                 │             └─ no ─► alarmed: held ─► what came since? ─► failed, disturbed
                 └─ no ─► soaked? ─► enough seen? ─► passed
                              └─ no ─► watching …─► inconclusive

A verdict is a function of its reading alone, so that it can be recomputed from what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from worker.core.publication import sentences
from worker.core.publication.alarm import first_alarm
from worker.core.publication.alarmed import Alarm, Alarmed, Later
from worker.core.publication.confirm import MOST_SICK, Found, Sick, confirm, confirm_sick
from worker.core.publication.evidence import Reading
from worker.core.publication.minimum import missing, seconds_until
from worker.core.publication.quarantine import log_e_of, rejected

Outcome = Literal["watching", "passed", "alarmed", "failed", "disturbed", "inconclusive"]
GateMode = Literal["observe", "pause", "rollback"]
Action = Literal["watch", "go_on", "hold", "roll_back"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
_PASSED: Final[Outcome] = "passed"
_INCONCLUSIVE: Final[Outcome] = "inconclusive"
_WATCHING: Final[Outcome] = "watching"
GATE_MODES: Final[tuple[GateMode, ...]] = get_args(GateMode)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says of a wave, in `sentence` for a person.

    `alarm` is what decided where it alarmed, failed or was disturbed. `quarantined` are the bots that go
    back alone, the worst first. `stands` is what the next look has to be told: an alarm, or single bots
    that are sick, of which it is not known yet whether it is an outage. `missing` clean executions (of
    the bots out before, once it alarmed) would decide it, by `until_s` at the rate so far; None if that
    is not known or is past the end of the soak.
    """

    outcome: Outcome
    sentence: str
    alarm: Alarm | None = None
    quarantined: tuple[str, ...] = ()
    stands: Alarmed | None = None
    missing: int = 0
    until_s: float | None = None


def judge(reading: Reading) -> Verdict:
    """What a reading says.

    >>> from worker.core.publication.baseline import Count
    >>> from worker.core.publication.evidence import MetricReading
    >>> def seen(failed, executions, after_s):
    ...     metric = MetricReading(metric="failed", count=Count(failed, executions), bots_failing=2,
    ...                            p0=0.02, source="default", p1=0.05)
    ...     return Reading(publication_id=1, wave=1, bots=5, since_s=0, until_s=after_s, metrics=(metric,))
    >>> judge(seen(9, 41, 600)).sentence
    '9 of 41 failed, normal is at most 2 %: by chance once in 200,000'
    >>> judge(seen(0, 40, 600)).sentence
    'no alarm yet: 30 clean executions missing, at this rate in 8 minutes; the soak ends in 20 minutes'
    >>> judge(seen(0, 80, 1800)).sentence
    '0 of 80 failed: a rate of 5 % is refuted'
    """
    verdict = _judge(reading)
    sentence = verdict.sentence + sentences.of_unknown(reading)
    return msgspec.structs.replace(verdict, sentence=sentence)


def _judge(reading: Reading) -> Verdict:
    sick = _sick(reading)
    stands = reading.alarmed
    if stands is not None and stands.alarm is not None:
        return _on_alarm(reading, stands, stands.alarm)
    alarm = first_alarm(reading, len(sick))
    if alarm is None:
        return _without_alarm(reading, confirm_sick(reading, sick))
    if reading.limits.confirm_s and not alarm.control_too:
        stands = Alarmed(at_s=reading.until_s, alarm=alarm, bots=sick[:MOST_SICK])
        return _on_alarm(reading, stands, alarm)
    return Verdict(
        outcome="disturbed" if alarm.control_too else "failed",
        sentence=sentences.of_alarm(alarm, reading),
        alarm=alarm,
        # During an outage nothing shows which bots are sick.
        quarantined=() if alarm.control_too else sick,
    )


def _on_alarm(reading: Reading, stands: Alarmed, alarm: Alarm) -> Verdict:
    """A wave that is held for its alarm, by what came since; nothing did at the look that alarms."""
    since = (
        reading if reading.alarmed == stands else msgspec.structs.replace(reading, later=Later())
    )
    found = confirm(since, stands, alarm)
    outcome = _OUTCOMES[found.found]
    return Verdict(
        outcome=outcome,
        sentence=sentences.of_confirmed(alarm, found, reading),
        alarm=alarm,
        stands=stands if outcome == "alarmed" else None,
        missing=found.missing if outcome == "alarmed" else 0,
        until_s=found.until_s if outcome == "alarmed" else None,
    )


_OUTCOMES: Final[Mapping[Found, Outcome]] = {
    "waits": "alarmed",
    "its_own": "failed",
    "outage": "disturbed",
    "over": "disturbed",
    "not_known": "disturbed",
}


def _sick(reading: Reading) -> tuple[str, ...]:
    suspects = [(bot.bot_id, log_e_of(bot)) for bot in reading.suspects]
    return rejected(suspects, reading.bots, reading.limits.false_quarantines)


def _without_alarm(reading: Reading, sick: Sick) -> Verdict:
    limits, elapsed_s = reading.limits, reading.until_s - reading.since_s
    more = _missing(reading)
    in_s = seconds_until(more, reading.failures.count.executions, elapsed_s)
    is_settled = reading.is_whole and not sick.waiting
    if is_settled and _may_pass(reading, more):
        outcome, sentence = _PASSED, sentences.of_passing(reading)
    elif is_settled and elapsed_s >= limits.max_soak_s:
        outcome, sentence = _INCONCLUSIVE, sentences.of_too_little(reading, more)
    else:
        soak_s = limits.min_soak_s - elapsed_s
        outcome, sentence = _WATCHING, sentences.of_watching(reading, more, in_s, soak_s)
    in_time = in_s is not None and elapsed_s + in_s < limits.max_soak_s
    return Verdict(
        outcome=outcome,
        sentence=sentence + sentences.of_quarantine(sick),
        quarantined=sick.now,
        stands=sick.stands,
        missing=more,
        until_s=reading.until_s + in_s if in_s is not None and in_time else None,
    )


def _may_pass(reading: Reading, more: int) -> bool:
    soaked = reading.until_s - reading.since_s >= reading.limits.min_soak_s
    return reading.bots == 0 or (more == 0 and soaked)


def _missing(reading: Reading) -> int:
    """How many clean executions every metric needs still: the most of them."""
    return max(missing(one.count.failed, one.count.executions, one.p1) for one in reading.metrics)


def action(outcome: Outcome, mode: GateMode, *, loses_nothing: bool) -> Action:
    """What follows from a verdict, in the mode that a person chose.

    A failure always stops the publication. Only `rollback` takes the wave back, and only where the
    preview of that says that `loses_nothing`. `observe` waits for no proof: what is inconclusive goes
    on.

    >>> [action("failed", "rollback", loses_nothing=safe) for safe in (True, False)]
    ['roll_back', 'hold']
    >>> [action(said, "observe", loses_nothing=True) for said in ("inconclusive", "failed")]
    ['go_on', 'hold']
    """
    if outcome == "watching":
        return "watch"
    if outcome == "passed" or (outcome == "inconclusive" and mode == "observe"):
        return "go_on"
    if outcome == "failed" and mode == "rollback" and loses_nothing:
        return "roll_back"
    return "hold"
