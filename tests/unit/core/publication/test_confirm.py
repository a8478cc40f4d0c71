"""Whether an alarm is a wave's own or an outage: by what came since, and by simulation."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from bench import outages
from bench.outages import Trouble
from worker.core.publication.alarmed import Alarm, Alarmed, Came, Later
from worker.core.publication.baseline import Count, Metric
from worker.core.publication.evidence import (
    BotMetric,
    BotReading,
    Limits,
    MetricReading,
    Reading,
    Traffic,
    decode,
    encode,
)
from worker.core.publication.gate import judge

LIMITS = Limits(min_soak_s=0, confirm_s=300)
RATE = Alarm(kind="rate", metric="failed", count=Count(9, 41), p0=0.02, log_e=12.2)
AT_S = 1_000.0


def came(failed: int, executions: int, **more: int) -> Came:
    return Came(failed=failed, executions=executions, **more)


def after(
    wave: Came,
    control: Came = Came(),  # noqa: B008  (frozen)
    *,
    s: float = 30,
    alarm: Alarm = RATE,
    **more: Any,
) -> Reading:
    """So many seconds after an alarm of a wave of 200 bots."""
    given = {"sick": (), "before": Count(4, 122), "metric": "failed", "suspects": (), **more}
    metric: Metric = given.pop("metric")
    sick = {bot.bot_id: wave for bot in given["suspects"]}
    later = Later(sick=sick, others=Came() if sick else wave, control=control)
    del given["sick"]
    before = given.pop("before")
    failures = MetricReading(
        metric="failed", count=Count(9, 41), bots_failing=2, p0=0.02, source="default", p1=0.05,
        control=before,
    )  # fmt: skip
    slowness = MetricReading(
        metric="slow", count=Count(9, 41), bots_failing=2, p0=0.05, source="default", p1=0.1
    )
    stands = Alarmed(at_s=AT_S, alarm=alarm, bots=tuple(sick))
    return Reading(
        publication_id=1,
        wave=2,
        since_s=0.0,
        until_s=AT_S + s,
        metrics=(failures,) if metric == "failed" else (failures, slowness),
        alarmed=stands,
        later=later,
        limits=LIMITS,
        **{"bots": 200, **given},
    )


def outcome(reading: Reading) -> str:
    return judge(reading).outcome


# -- a wave ----------------------------------------------------------------------------------------


def test_an_alarm_waits_for_what_comes_after_it() -> None:
    alarming = msgspec.structs.replace(after(Came()), alarmed=None)
    verdict = judge(alarming)
    assert verdict.outcome == "alarmed"
    assert verdict.stands == Alarmed(at_s=alarming.until_s, alarm=verdict.alarm)
    assert verdict.until_s == alarming.until_s + 300
    without = msgspec.structs.replace(alarming, limits=Limits(min_soak_s=0))
    assert outcome(without) == "failed", "0 seconds: at once"


@pytest.mark.parametrize(
    ("wave", "control", "says"),
    [
        ((9, 9), (0, 8), "failed"),  # others refute half of all
        ((9, 9), (0, 7), "alarmed"),
        ((10, 40), (0, 45), "failed"),  # half of a quarter
        ((10, 40), (0, 30), "alarmed"),
        ((9, 9), (2, 2), "disturbed"),  # others alarm
        ((9, 9), (1, 8), "alarmed"),
        ((1, 1), (0, 500), "alarmed"),  # one failure is none
        ((0, 70), (0, 500), "disturbed"),  # it is over
        ((0, 60), (0, 500), "alarmed"),
        ((0, 0), (0, 500), "alarmed"),  # nobody came to it
    ],
)
def test_by_what_came_since_of_both(
    wave: tuple[int, int], control: tuple[int, int], says: str
) -> None:
    assert outcome(after(came(*wave), came(*control))) == says


def test_others_that_alarm_in_the_minutes_of_the_failures_are_an_outage_too() -> None:
    assert outcome(after(came(9, 9), before=Count(30, 122))) == "disturbed"


def test_what_is_running_of_others_may_fail_yet() -> None:
    assert outcome(after(came(9, 9), came(0, 8, running=5))) == "alarmed"
    assert outcome(after(came(9, 9), came(0, 30, running=5))) == "failed"


@pytest.mark.parametrize(
    ("wave", "control", "says"),
    [
        ((9, 9), (0, 3), "failed"),  # sick still, and none of the few others
        ((9, 9), (1, 2), "disturbed"),
        ((1, 1), (0, 3), "failed"),
        ((1, 9), (0, 3), "disturbed"),  # too little to say
        ((0, 5), (0, 3), "disturbed"),
        ((0, 0), (0, 3), "alarmed"),  # nobody comes: no hurry
    ],
)
def test_at_the_deadline_the_little_that_is_known_decides(
    wave: tuple[int, int], control: tuple[int, int], says: str
) -> None:
    assert outcome(after(came(*wave), came(*control), s=299)) == "alarmed"
    assert outcome(after(came(*wave), came(*control), s=300)) == says


def test_where_nobody_comes_at_all_the_soak_ends_it() -> None:
    assert outcome(after(Came(), s=60 + 86_399)) == "alarmed"
    assert outcome(after(Came(), s=60 + 86_400)) == "disturbed"


def test_where_there_are_no_others_a_minute_decides() -> None:
    for s, says in ((59, "alarmed"), (60, "failed")):
        assert outcome(after(came(9, 9), before=Count(), s=s)) == says
    known = Traffic(expected=3.0)
    assert outcome(after(came(9, 9), before=Count(), s=60, control_traffic=known)) == "alarmed"
    running = came(0, 0, running=1)
    assert outcome(after(came(9, 9), running, before=Count(), s=60)) == "alarmed"


def test_a_brake_whose_minutes_are_over_stands_all_the_same() -> None:
    brake = Alarm(kind="brake", metric="failed", count=Count(20, 30), bots=5, p0=0.02)
    assert outcome(after(came(9, 9), came(0, 8), alarm=brake)) == "failed"


# -- silence ---------------------------------------------------------------------------------------

SILENCE = Alarm(kind="silence", count=Count(0, 9), log_e=9.4)


@pytest.mark.parametrize(
    ("wave", "control", "s", "says"),
    [
        ((0, 0), (0, 1), 30, "failed"),  # others are heard
        ((0, 0), (0, 0), 30, "alarmed"),
        ((0, 1), (0, 1), 30, "disturbed"),  # it is over
        ((0, 0), (0, 0), 60, "failed"),  # there are no others
    ],
)
def test_a_wave_is_silent_still_while_others_are_heard(
    wave: tuple[int, int], control: tuple[int, int], s: int, says: str
) -> None:
    reading = after(came(*wave), came(*control), alarm=SILENCE, s=s, before=Count())
    assert outcome(reading) == says


def test_a_silence_of_others_who_should_come_is_an_outage_or_not_known() -> None:
    silent = Traffic(expected=9.0)
    assert outcome(after(Came(), alarm=SILENCE, control_traffic=silent)) == "disturbed"
    some = Traffic(expected=3.0)
    assert outcome(after(Came(), alarm=SILENCE, control_traffic=some, s=299)) == "alarmed"
    assert outcome(after(Came(), alarm=SILENCE, control_traffic=some, s=300)) == "disturbed"


# -- single bots -----------------------------------------------------------------------------------

SICK = Alarm(kind="quarantine", count=Count(3, 200), bots=3)


def a_bot(bot_id: str = "b", failed: int = 9, executions: int = 9, **more: Any) -> BotReading:
    metric = BotMetric("failed", Count(failed, executions), 0.02)
    return BotReading(bot_id=bot_id, metrics=(metric,), **{"seen": executions, **more})


def test_too_many_sick_bots_are_judged_by_their_own_executions() -> None:
    suspects = (a_bot(),)
    assert outcome(after(came(2, 2), came(0, 8), alarm=SICK, suspects=suspects)) == "failed"
    assert outcome(after(came(0, 70), came(0, 8), alarm=SICK, suspects=suspects)) == "disturbed"


def test_bots_that_are_slow_are_judged_by_their_slowness() -> None:
    slow = BotReading(bot_id="b", metrics=(BotMetric("slow", Count(9, 9), 0.05),), seen=9)
    since = came(0, 9, slow=9)
    reading = after(since, came(0, 99, slow=0), alarm=SICK, suspects=(slow,), metric="slow")
    assert outcome(reading) == "failed"


def test_bots_that_are_all_silent_are_judged_as_silence() -> None:
    silent = a_bot(failed=0, executions=0, expected=16.0)
    assert outcome(after(Came(), came(0, 1), alarm=SICK, suspects=(silent,))) == "failed"


def with_one_sick(sick: Came, others: Came, *, s: float = 30, **more: Any) -> Reading:
    """A wave without an alarm, one bot of which is sick since."""
    reading = after(sick, suspects=(a_bot(**more),), s=s)
    healthy = MetricReading(
        metric="failed", count=Count(0, 80), bots_failing=0, p0=0.02, source="default", p1=0.05
    )
    return msgspec.structs.replace(
        reading,
        metrics=(healthy,),
        alarmed=Alarmed(at_s=AT_S, bots=("b",)),
        later=Later(sick={"b": sick}, others=others),
    )


@pytest.mark.parametrize(
    ("sick", "others", "s", "is_taken", "says"),
    [
        ((2, 2), (0, 8), 30, True, "passed"),
        ((2, 2), (0, 7), 30, False, "watching"),
        ((1, 1), (0, 8), 30, False, "watching"),
        ((2, 2), (4, 8), 300, False, "watching"),  # others fail as well
        ((0, 0), (0, 0), 299, False, "watching"),
        ((0, 0), (0, 0), 300, True, "passed"),
        ((0, 1), (0, 90), 300, False, "passed"),  # it is well again
        ((1, 1), (0, 3), 300, True, "passed"),
    ],
)
def test_a_sick_bot_is_taken_back_if_others_are_well(
    sick: tuple[int, int], others: tuple[int, int], s: float, is_taken: bool, says: str
) -> None:
    verdict = judge(with_one_sick(came(*sick), came(*others), s=s))
    assert (verdict.quarantined == ("b",)) is is_taken
    assert verdict.outcome == says


def test_a_bot_that_fell_silent_is_taken_back_once_others_are_well() -> None:
    reading = with_one_sick(Came(), came(0, 117), failed=0, executions=0, expected=16.0)
    assert judge(reading).quarantined == ("b",)


def test_a_bot_that_stays_out_though_it_is_sick_keeps_no_wave_waiting() -> None:
    reading = with_one_sick(came(2, 2), came(0, 8))
    again = msgspec.structs.replace(reading, alarmed=judge(reading).stands)
    assert (judge(again).outcome, judge(again).quarantined) == ("passed", ("b",))


def test_a_bot_that_falls_sick_later_has_a_turn_of_its_own() -> None:
    reading = with_one_sick(came(2, 2), came(0, 8))
    two = msgspec.structs.replace(reading, suspects=(a_bot(), a_bot("c")))
    verdict = judge(two)
    assert (verdict.quarantined, verdict.outcome) == (("b",), "watching")
    assert verdict.stands == Alarmed(at_s=two.until_s, bots=("b", "c"))


# -- stored, simulated -----------------------------------------------------------------------------


def test_what_stands_is_stored_with_the_reading_and_judged_the_same_again() -> None:
    reading = after(came(9, 9), came(0, 8, running=1), suspects=(a_bot(),), alarm=SICK)
    assert decode(encode(reading)) == reading
    assert judge(decode(encode(reading))) == judge(reading)


def test_a_reading_from_before_alarms_stood_is_judged_as_it_was() -> None:
    old = encode(msgspec.structs.replace(after(Came()), alarmed=None, limits=Limits()))
    for name in (b'"alarmed":null,', b'"later":{"sick":{},"others":', b'"confirm_s":0'):
        assert name in old
    stored = msgspec.json.decode(old)
    del stored["alarmed"], stored["later"], stored["limits"]["confirm_s"]
    assert judge(decode(msgspec.json.encode(stored))).outcome == "failed"


def ends(each: int, *, is_shared: bool, least: float) -> list[outages.Ended | None]:
    """How troubles end, of those with at least so many executions of others a minute."""
    rng = random.Random(7)
    kinds = [one for _, one in outages.troubles(is_shared=is_shared) if one.others >= least]
    return [outages.happens(rng, one) for one in kinds for _ in range(each)]


@pytest.mark.unmeasured
def test_of_a_hundred_outages_one_at_most_takes_a_wave_back() -> None:
    """They begin at any second between two looks, hit all alike, and last seconds or for long."""
    ended = ends(8, is_shared=True, least=20)
    assert len(ended) >= 200
    taken = sum(one is not None and one.outcome == "failed" for one in ended)
    assert taken <= len(ended) / 100


@pytest.mark.unmeasured
def test_a_fault_of_its_own_is_taken_back_within_two_minutes_of_its_alarm() -> None:
    clear = [
        outages.happens(random.Random(seed), Trouble(rate=0.9, wave=60, others=20, is_shared=False))
        for seed in range(30)
    ]
    assert all(one is not None and one.outcome == "failed" for one in clear)
    assert max(one.confirmed_s for one in clear if one) <= 120
