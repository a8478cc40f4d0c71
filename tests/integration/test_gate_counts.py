"""Each execution counts once: random traffic, time, looks and deaths, held against a plain recount."""

from __future__ import annotations

import contextlib
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
import pytest

from tests.fleet import Fleet
from tests.strategies import at_night
from tests.traffic import Traffic
from worker.core.publication.baseline import METRICS, Count, Metric
from worker.core.publication.evidence import Reading
from worker.core.publication.minimum import cap
from worker.db.publication import traffic_settle
from worker.errors import TransientError
from worker.steps.publication.look import look

RUNNING_S: Final = 300
SLOW_MS: Final = 30_000
COSTLY: Final = 20_000
WAVE: Final = ("a", "b", "c", "d", "e")
CONTROL: Final = ("x", "y")
SEEDS: Final = range(60) if at_night() else range(3)


class Row(msgspec.Struct):
    """An execution, as the test knows it."""

    id: str
    bot_id: str
    created_s: float
    status: str
    error: str | None
    elapsed: int | None
    tokens: int | None

    def bad(self, now_s: float) -> dict[Metric, bool] | None:
        """By metric whether it is bad; None if it counts as nothing."""
        is_late = self.status == "running" and self.created_s < now_s - RUNNING_S
        if is_late or (self.status != "paused" and (self.elapsed or 0) > 1_000 * RUNNING_S):
            return {"failed": True, "slow": True, "costly": False}
        is_ignored = self.status == "failed" and (self.error or "").startswith(
            "Cancelled by client"
        )
        if is_ignored or self.status not in {"failed", "succeeded"}:
            return None
        slow, costly = (self.elapsed or 0) > SLOW_MS, (self.tokens or 0) > COSTLY
        return {"failed": self.status == "failed", "slow": slow, "costly": costly}


class Story:
    """What happens to a wave; its time passes by all times becoming older."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.random = random.Random(seed)
        self.fleet = fleet
        self.traffic = Traffic(fleet)
        self.traffic.wave(1, *CONTROL, state="passed", bots="confirmed", age="1 hour")
        self.traffic.wave(2, *WAVE, age="1 minute")
        fleet.execute("CREATE TABLE everything (LIKE workflow_execution_runs INCLUDING ALL)")
        self.out = set(WAVE)

    # -- what happens --------------------------------------------------------------------------

    def executions(self) -> None:
        """Of a bot, created up to 9 minutes ago and committed only now."""
        some = self.random
        bot_id = some.choice((*WAVE, *WAVE, *CONTROL))
        for _ in range(some.choice((1, 1, 2, 5, 20))):
            status = some.choice(("succeeded", "succeeded", "running", "failed", "paused"))
            self.traffic.ask(
                bot_id,
                status=status,
                error=some.choice(("boom", "Cancelled by client")) if status == "failed" else None,
                ago=f"{some.uniform(0, 540)} seconds",
                elapsed_ms=None if status == "running" else some.choice((5, 900, 31_000, None)),
                tokens=some.choice((0, 100, 20_001, None)),
                session=some.choice(("s", None)),
            )

    def ends(self) -> None:
        """Executions that were running end, also long after they should have."""
        self.fleet.execute(
            "UPDATE workflow_execution_runs SET status = :status, total_tokens = 50,"
            " elapsed_time = EXTRACT(epoch FROM now() - created_at) * 1000"
            " WHERE status = 'running' AND random() < 0.5",
            status=self.random.choice(("succeeded", "failed")),
        )

    def passes(self) -> None:
        """Time passes: a whole number of minutes."""
        minutes = self.random.choice((1, 3, 16, 45, 200))
        self.note()
        for table, column in (
            ("workflow_execution_runs", "created_at"),
            ("everything", "created_at"),
            ("flowshift.publication_bots", "published_at"),
            ("flowshift.waves", "watched_from"),
            ("flowshift.gate_looks", "counted_until"),
            ("flowshift.gate_looks", "opened_at"),
        ):
            self.fleet.execute(
                f"UPDATE {table} SET {column} = {column} - :minutes * interval '1 minute'",
                minutes=minutes,
            )
        for table in ("gate_bad_minutes", "gate_control_minutes"):
            for ages in (-1_000_000, 1_000_000 - minutes):  # one key never meets another
                self.fleet.execute(
                    f"UPDATE flowshift.{table} SET minute = minute + :m * interval '1 minute'",
                    m=ages,
                )

    def prune(self) -> None:
        """Old executions go: those that a look has had time to count."""
        self.note()
        self.fleet.execute(
            "DELETE FROM workflow_execution_runs WHERE created_at <"
            " (SELECT min(counted_until) FROM flowshift.gate_looks)"
        )

    def quarantine(self) -> None:
        """A bot goes back alone."""
        if len(self.out) > 2 and self.random.random() < 0.2:
            bot_id = self.random.choice(sorted(self.out))
            self.out.discard(bot_id)
            self.fleet.execute(
                "UPDATE flowshift.publication_bots SET state = 'quarantined' WHERE bot_id = :b",
                b=bot_id,
            )

    def looks(self) -> None:
        """Three processes look at once; while one counts what is old, others may have to come again."""
        with ThreadPoolExecutor(3) as pool:
            readings = [one for one in pool.map(lambda _: self.look(), range(3)) if one]
        assert readings
        for reading in readings:
            self.compare(reading)

    def look(self) -> Reading | None:
        try:
            return look(self.fleet.current, 1, 2)
        except TransientError:
            return None

    def note(self) -> None:
        """Keep what is there, for the recount."""
        self.fleet.execute(
            "INSERT INTO everything SELECT * FROM workflow_execution_runs ON CONFLICT (id) DO UPDATE"
            " SET status = excluded.status, elapsed_time = excluded.elapsed_time,"
            " total_tokens = excluded.total_tokens"
        )

    # -- the recount ---------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        self.note()
        rows = self.fleet.rows(
            "SELECT id::text, bot_id, EXTRACT(epoch FROM created_at)::float8 AS created_s, status,"
            " error_message AS error, elapsed_time AS elapsed, total_tokens AS tokens FROM everything"
        )
        found = [Row(*tuple(row)) for row in rows]
        return sorted(found, key=lambda row: (row.created_s, row.id))

    def compare(self, reading: Reading) -> None:
        now_s = reading.until_s
        rows = self.rows()
        judged = [(row, bad) for row in rows if (bad := row.bad(now_s)) is not None]
        of_wave = [(row, bad) for row, bad in judged if row.bot_id in self.out]
        first: list[tuple[Row, dict[Metric, bool]]] = []
        for bot_id in self.out:
            first += [one for one in of_wave if one[0].bot_id == bot_id][: cap(len(self.out), 0.05)]
        for name in METRICS:
            one = next((m for m in reading.metrics if m.metric == name), None)
            if one is None:  # nothing is noted of it
                noted = {"slow": "elapsed", "costly": "tokens"}[name]
                assert of_wave
                assert all(getattr(row, noted) is None for row, _ in of_wave)
                continue
            failing = {row.bot_id for row, bad in first if bad[name]}
            minutes = {row.created_s // 60 for row, bad in of_wave if bad[name]}
            control = [
                bad[name]
                for row, bad in judged
                if row.bot_id in CONTROL and row.created_s // 60 in minutes
            ]
            assert one.count == Count(sum(bad[name] for _, bad in first), len(first)), name
            assert one.bots_failing == len(failing), name
            assert one.control == Count(sum(control), len(control)), name
        recent = [(row, bad) for row, bad in of_wave if row.created_s >= now_s - 300]
        assert reading.recent.count == Count(sum(b["failed"] for _, b in recent), len(recent))
        assert reading.recent.bots == len({row.bot_id for row, b in recent if b["failed"]})
        assert reading.traffic.seen == len([row for row in rows if row.bot_id in self.out])
        assert (reading.bots, reading.quarantined) == (5, 5 - len(self.out))
        for bot in reading.suspects:
            mine = [bad for row, bad in of_wave if row.bot_id == bot.bot_id]
            for metric in bot.metrics:
                assert metric.count == Count(sum(b[metric.metric] for b in mine), len(mine))


@pytest.mark.unmeasured
@pytest.mark.parametrize("seed", SEEDS)
def test_every_execution_counts_once_whatever_happens(
    fleet: Fleet, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(fleet, seed)
    settle = traffic_settle.settle

    def dies(*given: Any, **more: Any) -> None:
        settle(*given, **more)
        if story.random.random() < 0.3:
            raise KeyboardInterrupt  # before its transaction has committed

    for _ in range(40):
        what = story.random.choice(
            (story.executions,) * 6 + (story.ends, story.passes, story.passes, story.quarantine)
        )
        what()
        if story.random.random() < 0.3:
            with monkeypatch.context() as patched:
                patched.setattr(traffic_settle, "settle", dies)
                with contextlib.suppress(KeyboardInterrupt):
                    story.look()
        if story.random.random() < 0.4:
            story.looks()
        if story.random.random() < 0.1:
            story.prune()
    story.looks()
    (row,) = fleet.rows("SELECT count(*) AS n FROM flowshift.gate_bots WHERE executions > 0")
    assert row.n >= 2  # some of it was settled


def test_looks_at_once_settle_once(fleet: Fleet) -> None:
    """Eight processes look for the first time at a wave with hours to settle."""
    traffic = Traffic(fleet)
    traffic.wave(1, "a", "b", age="5 hours")
    for ago in range(10, 300, 7):
        traffic.ask("a", 2, ago=f"{ago} minutes", session=str(uuid.uuid4()))

    def seen(_: int) -> int | None:
        with contextlib.suppress(TransientError):  # another one is counting what is old
            return traffic.look().traffic.seen
        return None

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(seen, range(8)))

    assert found - {None} == {84}
