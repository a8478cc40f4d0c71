"""The gate: what each reading says, in words, and the same again from what was stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.baseline import METRICS, Count, Metric
from worker.core.publication.evidence import (
    BotMetric,
    BotReading,
    MetricReading,
    Reading,
    Recent,
    Traffic,
    decode,
    encode,
)
from worker.core.publication.gate import GATE_MODES, OUTCOMES, Verdict, action, judge

HOUR = 3_600


def metric(
    failed: int, executions: int, *, name: Metric = "failed", bots: int = 2, **more: Any
) -> MetricReading:
    p0 = 0.02 if name == "failed" else 0.05
    p1 = 0.05 if name == "failed" else 0.1
    return MetricReading(
        metric=name,
        count=Count(failed, executions),
        bots_failing=bots,
        **{"p0": p0, "source": "default", "p1": p1, **more},
    )


def a_reading(*metrics: MetricReading, after_s: float = HOUR, **more: Any) -> Reading:
    return Reading(
        publication_id=7,
        wave=2,
        since_s=1_000_000.0,
        until_s=1_000_000.0 + after_s,
        metrics=metrics,
        **{"bots": 200, **more},
    )


def a_bot(bot_id: str, failed: int = 9, executions: int = 10, **more: Any) -> BotReading:
    failures = BotMetric("failed", Count(failed, executions), 0.02)
    return BotReading(bot_id=bot_id, metrics=(failures,), seen=executions, **more)


def said(reading: Reading) -> tuple[str, str]:
    verdict = judge(reading)
    return verdict.outcome, verdict.sentence


TOO_MANY = "9 of 41 failed, normal is at most 2 %: by chance once in 200,000"


# -- failing ---------------------------------------------------------------------------------------


def test_a_wave_in_which_too_many_fail_fails() -> None:
    assert said(a_reading(metric(9, 41))) == ("failed", TOO_MANY)


@pytest.mark.parametrize(("failed", "executions"), [(4, 14), (5, 27), (6, 42)])
def test_an_e_value_of_300_alarms_and_the_next_lower_one_does_not(
    failed: int, executions: int
) -> None:
    assert judge(a_reading(metric(failed, executions))).outcome == "watching"
    assert judge(a_reading(metric(failed, executions - 1))).outcome == "failed"


def test_one_bot_alone_does_not_fail_a_wave() -> None:
    assert judge(a_reading(metric(30, 60, bots=1))).outcome == "watching"
    assert judge(a_reading(metric(30, 60, bots=2))).outcome == "failed"


def test_slow_and_costly_executions_fail_a_wave_too() -> None:
    slow = metric(20, 60, name="slow")
    assert said(a_reading(metric(0, 60), slow))[1].startswith(
        "20 of 60 were slow, normal is at most 5 %: by chance less than once in "
    )
    costly = metric(20, 60, name="costly")
    assert "20 of 60 were costly" in said(a_reading(metric(0, 60), costly))[1]


def test_a_wave_can_fail_before_it_is_wholly_out_and_cannot_pass() -> None:
    assert judge(a_reading(metric(9, 41), is_whole=False)).outcome == "failed"
    assert said(a_reading(metric(0, 500), is_whole=False)) == (
        "watching",
        "no alarm yet: the wave is still being published",
    )


# -- the brake -------------------------------------------------------------------------------------


def test_the_brake_acts_at_once_on_the_last_five_minutes() -> None:
    recent = Recent(count=Count(11, 20), bots=2)
    assert said(a_reading(metric(11, 5_000), recent=recent, after_s=60)) == (
        "failed",
        "within 5 minutes 11 of 20 failed, on 2 bots: more than half",
    )


@pytest.mark.parametrize(
    "recent",
    [
        Recent(count=Count(10, 20), bots=2),
        Recent(count=Count(19, 19), bots=2),
        Recent(count=Count(20, 20), bots=1),
    ],
)
def test_the_brake_wants_more_than_half_of_twenty_on_two_bots(recent: Recent) -> None:
    assert judge(a_reading(metric(11, 5_000), recent=recent)).outcome != "failed"


def test_the_brake_leaves_bots_alone_of_which_half_always_fails() -> None:
    recent = Recent(count=Count(11, 20), bots=2)
    always = metric(11, 20, p0=0.5, p1=0.75)
    assert judge(a_reading(always, recent=recent)).outcome == "watching"


# -- an outage -------------------------------------------------------------------------------------


def test_where_bots_that_were_out_before_alarm_too_it_is_an_outage() -> None:
    assert said(a_reading(metric(9, 41, control=Count(30, 120)))) == (
        "disturbed",
        f"{TOO_MANY}; of bots that were out before, 30 of 120 failed: an outage, and not this wave",
    )
    assert judge(a_reading(metric(9, 41, control=Count(2, 120)))).outcome == "failed"


def test_an_outage_stops_the_brake_as_well() -> None:
    recent = Recent(count=Count(20, 20), bots=5, control=Count(40, 50))
    verdict = judge(a_reading(metric(20, 5_000), recent=recent))
    assert verdict.outcome == "disturbed"
    assert "40 of 50 failed" in verdict.sentence


def test_an_outage_of_seconds_stops_the_brake_though_five_minutes_of_the_control_hide_it() -> None:
    recent = Recent(count=Count(20, 30), bots=5, control=Count(60, 3_000))
    verdict = judge(a_reading(metric(20, 30, control=Count(60, 120)), recent=recent))
    assert verdict.outcome == "disturbed"
    assert "60 of 120 failed" in verdict.sentence


def test_during_an_outage_no_bot_is_quarantined() -> None:
    reading = a_reading(metric(9, 400, bots=1, control=Count(30, 120)), suspects=(a_bot("a"),))
    verdict = judge(reading)
    assert (verdict.outcome, verdict.quarantined) == ("disturbed", ())
    assert "1 of 200 bots is sick" in verdict.sentence


def test_a_control_that_alarms_alone_disturbs_no_wave() -> None:
    assert judge(a_reading(metric(0, 80, control=Count(30, 120)))).outcome == "passed"


# -- single bots -----------------------------------------------------------------------------------


def test_a_sick_bot_goes_back_alone_and_the_wave_goes_on() -> None:
    assert said(a_reading(metric(0, 80), suspects=(a_bot("a"), a_bot("b", 0)))) == (
        "passed",
        "0 of 80 failed: a rate of 5 % is refuted; sick alone: 'a'",
    )


def test_too_many_sick_bots_make_the_wave_fail() -> None:
    sick = tuple(a_bot(f"b{n}") for n in range(3))
    assert said(a_reading(metric(0, 80), suspects=sick)) == (
        "failed",
        "3 of 200 bots are sick, at most 1 % may be",
    )
    assert judge(a_reading(metric(0, 80), suspects=sick[:2])).outcome == "passed"
    assert judge(a_reading(metric(0, 80), suspects=sick[:1], quarantined=2)).outcome == "failed"


def test_a_wave_of_one_bot_fails_by_that_bot() -> None:
    reading = a_reading(metric(6, 12, bots=1), suspects=(a_bot("only", 6, 12),), bots=1)
    assert said(reading) == ("failed", "1 of 1 bot is sick, at most 1 % may be")


def test_a_bot_that_fell_silent_is_sick() -> None:
    silent = BotReading(bot_id="mute", expected=16.0)
    assert judge(a_reading(metric(0, 80), suspects=(silent,))).quarantined == ("mute",)


def test_a_wave_that_fell_silent_fails_unless_the_others_did_too() -> None:
    silence = Traffic(expected=9.4)
    assert said(a_reading(metric(0, 0), traffic=silence)) == (
        "failed",
        "about 9 executions were to come, and none came",
    )
    both = a_reading(metric(0, 0), traffic=silence, control_traffic=Traffic(expected=80.0))
    assert judge(both).outcome == "disturbed"
    heard = a_reading(metric(0, 1), traffic=Traffic(expected=9.4, seen=1))
    assert judge(heard).outcome == "watching"


# -- passing, waiting ------------------------------------------------------------------------------


def test_a_wave_passes_once_it_is_soaked_and_every_metric_has_seen_enough() -> None:
    enough = (metric(0, 70), metric(0, 34, name="slow"))
    assert judge(a_reading(*enough)).outcome == "passed"
    assert judge(a_reading(*enough, after_s=HOUR / 2 - 1)).outcome == "watching"
    assert judge(a_reading(*enough, metric(0, 33, name="costly"))).missing == 1


def test_what_is_missing_is_said_and_until_when() -> None:
    verdict = judge(a_reading(metric(0, 40), after_s=600))
    assert (verdict.outcome, verdict.missing) == ("watching", 30)
    assert verdict.until_s == 1_000_000 + 600 + 450
    assert verdict.sentence == (
        "no alarm yet: 30 clean executions missing, at this rate in 8 minutes;"
        " the soak ends in 20 minutes"
    )


def test_where_the_rest_will_not_come_in_time_no_time_is_named() -> None:
    slow = judge(a_reading(metric(0, 1), after_s=HOUR))
    assert (slow.missing, slow.until_s) == (69, None)
    none = judge(a_reading(metric(0, 0), after_s=HOUR))
    assert none.sentence == "no alarm yet: 70 clean executions missing, none has come yet"


def test_after_a_day_too_little_is_inconclusive() -> None:
    outcome, sentence = said(a_reading(metric(0, 12), after_s=24 * HOUR))
    assert outcome == "inconclusive"
    assert sentence == (
        "24 hours are over, and of 12 executions too few are clean: 58 clean executions missing:"
        " accept the wave, or roll it back"
    )
    assert judge(a_reading(metric(0, 70), after_s=24 * HOUR)).outcome == "passed"


def test_a_bot_falls_silent_with_all_others_in_an_outage() -> None:
    silent = BotReading(bot_id="mute", expected=16.0)
    reading = a_reading(
        metric(0, 80), suspects=(silent,), control_traffic=Traffic(expected=80.0, seen=0)
    )

    outcome, sentence = said(reading)
    assert (outcome, sentence.partition("; ")[2]) == (
        "disturbed",
        "nobody comes to bots that were out before: an outage, and not this wave",
    )
    assert judge(reading).quarantined == ()


def test_silence_never_passes() -> None:
    for after_s in (HOUR, 30 * HOUR):
        assert judge(a_reading(metric(0, 0), after_s=after_s)).outcome != "passed"


def test_a_wave_of_which_no_bot_is_out_has_nothing_to_show() -> None:
    assert said(a_reading(metric(0, 0), bots=0, after_s=0)) == (
        "passed",
        "no bot of the wave is out: nothing to judge",
    )


# -- what follows ----------------------------------------------------------------------------------


def test_a_failure_always_stops_and_only_rollback_takes_back_what_loses_nothing() -> None:
    for mode in GATE_MODES:
        for safe in (True, False):
            takes_back = mode == "rollback" and safe
            assert action("failed", mode, loses_nothing=safe) == (
                "roll_back" if takes_back else "hold"
            )
            assert action("disturbed", mode, loses_nothing=safe) == "hold"
            assert action("passed", mode, loses_nothing=safe) == "go_on"
            assert action("watching", mode, loses_nothing=safe) == "watch"
            assert action("inconclusive", mode, loses_nothing=safe) == (
                "go_on" if mode == "observe" else "hold"
            )


# -- the evidence ----------------------------------------------------------------------------------

COUNTS = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(
    lambda pair: Count(min(pair), max(pair))
)
NUMBERS = st.integers(0, 50)
TRAFFIC = st.builds(Traffic, expected=st.floats(0, 1_000), seen=NUMBERS)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    metrics = [
        metric(count.failed, count.executions, name=name, bots=draw(NUMBERS), control=draw(COUNTS))
        for name, count in zip(METRICS, draw(st.tuples(*[COUNTS] * 3)), strict=True)
    ]
    suspects = [
        a_bot(f"b{n}", count.failed, count.executions, expected=draw(st.floats(0, 100)))
        for n, count in enumerate(draw(st.lists(COUNTS, max_size=5)))
    ]
    return a_reading(
        *metrics[: draw(st.integers(1, 3))],
        after_s=draw(st.floats(0, 100_000)),
        bots=draw(st.integers(len(suspects), 1_000)),
        quarantined=draw(st.integers(0, 3)),
        is_whole=draw(st.booleans()),
        suspects=tuple(suspects),
        recent=Recent(count=draw(COUNTS), bots=draw(NUMBERS), control=draw(COUNTS)),
        traffic=draw(TRAFFIC),
        control_traffic=draw(TRAFFIC),
    )


@examples(300)
@given(readings())
def test_every_reading_has_one_verdict_that_is_found_again_from_what_is_stored(
    reading: Reading,
) -> None:
    stored = encode(reading)
    verdict = judge(reading)

    assert decode(stored) == reading
    assert encode(decode(stored)) == stored
    assert judge(decode(stored)) == verdict
    assert verdict.outcome in OUTCOMES
    assert (verdict.alarm is not None) is (verdict.outcome in {"failed", "disturbed"})
    assert verdict.sentence.isprintable()


@examples(200)
@given(readings(), st.randoms(use_true_random=False))
def test_the_order_of_suspects_does_not_count(reading: Reading, rng: Any) -> None:
    shuffled = list(reading.suspects)
    rng.shuffle(shuffled)

    assert judge(msgspec.structs.replace(reading, suspects=tuple(shuffled))) == judge(reading)


@pytest.mark.parametrize(
    "metrics", [(), (metric(0, 1, name="slow"),), (metric(0, 1), metric(0, 1))]
)
def test_a_reading_measures_failures_and_each_metric_once(
    metrics: tuple[MetricReading, ...],
) -> None:
    with pytest.raises(ValueError, match="measures failures, and each metric once"):
        a_reading(*metrics)


def test_a_reading_that_runs_backwards_or_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot end before it begins"):
        a_reading(metric(0, 1), after_s=-1)
    with pytest.raises(ValueError, match="required field"):
        decode(b"{}")
    with pytest.raises(ValueError, match="Expected `float` < 1"):
        decode(encode(a_reading(metric(0, 1))).replace(b'"p0":0.02', b'"p0":1.5'))


def test_a_verdict_says_who_goes_back_whatever_their_ids_hold() -> None:
    verdict: Verdict = judge(a_reading(metric(0, 80), suspects=(a_bot("a\x1b[2J"),)))
    assert verdict.quarantined == ("a\x1b[2J",)
    assert "\x1b" not in verdict.sentence
