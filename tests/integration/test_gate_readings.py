"""Verdicts of the gate are kept with what they were judged by, and computed again from it."""

from __future__ import annotations

import msgspec

from tests.fleet import Fleet
from worker.core.publication.baseline import Count
from worker.core.publication.evidence import BotMetric, BotReading, MetricReading, Reading, Recent
from worker.core.publication.gate import judge
from worker.db.publication.readings import keep, of_wave

READING = Reading(
    publication_id=7,
    wave=2,
    bots=300,
    since_s=1_764_000_000.25,
    until_s=1_764_003_600.125,
    metrics=(
        MetricReading(
            metric="failed",
            count=Count(9, 41),
            bots_failing=4,
            p0=0.1 + 0.2 - 0.28,  # with every digit that a float has
            source="waves",
            p1=0.05,
            control=Count(1, 900),
        ),
    ),
    suspects=(
        BotReading(
            bot_id="봇\u202e'\"",
            metrics=(BotMetric("failed", Count(5, 5), 1e-9),),
            expected=1e21,
            seen=5,
        ),
    ),
    recent=Recent(count=Count(3, 8), bots=2),
)


def test_a_verdict_is_computed_again_from_what_was_kept(fleet: Fleet) -> None:
    later = msgspec.structs.replace(READING, until_s=READING.until_s + 60, suspects=())
    with fleet.engine.begin() as connection:
        for reading in (READING, later, msgspec.structs.replace(READING, wave=3)):
            keep(connection, reading, judge(reading))
    with fleet.engine.connect() as connection:
        newest, first = of_wave(connection, 7, 2, limit=9)
        assert of_wave(connection, 7, 2) == [newest]
        assert of_wave(connection, 8, 2) == []

    for kept, reading in ((newest, later), (first, READING)):
        assert kept.reading == reading
        assert judge(kept.reading).sentence == kept.sentence
        assert judge(kept.reading).outcome == kept.outcome == "failed"
