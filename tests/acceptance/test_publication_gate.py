"""The gate on real traffic: a platform serves what is live, a beat and a worker judge it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.beside import Beside
from tests.fleet import Fleet
from tests.live import PATIENCE_S, Environment, running, tending
from tests.operating import Operator
from tests.publication_invariants import must_hold
from worker.processes.supervisor import Supervisor
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


class Watched:
    """A publication that the gate watches, and the platform beside it."""

    def __init__(self, beside: Beside, operator: Operator, supervisor: Supervisor) -> None:
        self.beside = beside
        self.fleet = beside.fleet
        self.operator = operator
        self._supervisor = supervisor

    def until(self, what: Any, timeout_s: float = PATIENCE_S) -> None:
        """Wait for what must come true."""
        tending(self._supervisor, what, timeout_s)

    def until_out(self, wave: int) -> None:
        """Wait until a wave is out, and the gate has looked at it."""
        self.until(lambda: self.wave(wave).state == "watching" and self.said(wave))

    def until_held(self, because: str) -> None:
        """Wait until the gate holds the publication for a reason."""
        self.until(lambda: self.operator.read()[0].held_because == because)

    def wave(self, number: int) -> Any:
        """A wave as it stands."""
        return self.operator.read()[1][number - 1]

    def said(self, wave: int) -> dict[str, Any]:
        """What the gate says of a wave, with the reading that it says it of."""
        rows = self.fleet.rows(
            "SELECT outcome, sentence, reading FROM flowshift.gate_readings WHERE wave = :wave"
            " ORDER BY reading_id DESC LIMIT 1",
            wave=wave,
        )
        return dict(rows[0]._asdict()) if rows else {}

    def executions(self, wave: int) -> int:
        """How many executions the gate has counted of a wave."""
        said = self.said(wave)
        return int(said["reading"]["metrics"][0]["count"]["executions"]) if said else 0

    def soak(self, wave: int) -> None:
        """Let two days pass for a wave."""
        self.fleet.execute(
            "UPDATE flowshift.waves SET watched_from = watched_from - interval '2 days'"
            " WHERE number = :wave",
            wave=wave,
        )

    def bots(self, wave: int) -> list[str]:
        """The bots of a wave."""
        rows = self.fleet.rows(
            "SELECT bot_id FROM flowshift.publication_bots WHERE wave = :wave ORDER BY 1",
            wave=wave,
        )
        return [row.bot_id for row in rows]


@contextmanager
def watched(
    fleet: Fleet, publisher: Environment, settings: Settings, tmp_path: Path, **orders: Any
) -> Iterator[Watched]:
    """Live workers that look every second, and traffic."""
    fleet.run(validate="sample:1")
    environment = {**publisher, "FLOWSHIFT_GATE_S": "1", "FLOWSHIFT_GATE_MIN_SOAK_S": "3600"}
    beside = Beside(fleet)
    beside.order(**orders)
    with (
        running(environment, tmp_path) as supervisor,
        beside.working(settings.database_url, tmp_path / "platform.log", seed=1),
    ):
        yield Watched(beside, Operator(fleet, environment), supervisor)
    must_hold(fleet, beside)


# Some hundred a minute came to V1 in the same hours of the week before: it leaves rows here.
VISITORS = """
INSERT INTO workflow_execution_runs (id, bot_id, session_id, graph_snapshot, status, created_at)
SELECT gen_random_uuid(), :bot, 'visitor-' || n, CAST('{}' AS jsonb), 'succeeded',
       now() - interval '7 days' + interval '1 hour' * (n / 8000.0 - 0.5)
FROM generate_series(0, 16000) n
UNION ALL SELECT gen_random_uuid(), :bot, 'late', '{}', 'succeeded', now() - interval '1 hour'
"""


def test_sick_bots_are_taken_back_alone_and_the_wave_goes_on(
    fleet: Fleet, publisher: Environment, settings: Settings, tmp_path: Path
) -> None:
    """One of them is very loud, one falls silent, and three in ten clients hang up."""
    ids = fleet.add_many(400)
    loud, silent, *others = ids[100], ids[150], ids[200], ids[300]
    fleet.execute(VISITORS, bot=silent)
    with watched(fleet, publisher, settings, tmp_path, pause_ms=0.0, hang_up=0.3) as it:
        it.beside.order(sick={loud: 1.0}, loud={loud: 100}, silent=[silent])
        it.operator.publish("--waves", "all")
        it.until(lambda: it.operator.count("quarantined") == 2)
        it.beside.order(sick=dict.fromkeys(ids[100:301:100], 1.0), loud=dict.fromkeys(others, 9))
        it.until(lambda: it.operator.count("quarantined") == 4)
        it.until(lambda: it.executions(1) > 150)
        assert it.wave(1).state == "watching"
        it.soak(1)
        it.until(lambda: it.operator.state == "completed")
        assert it.said(1)["outcome"] == "passed"
    states = fleet.rows("SELECT bot_id FROM flowshift.publication_bots WHERE state = 'quarantined'")
    assert {row.bot_id for row in states} == {loud, silent, *others}
    assert it.operator.count("confirmed") == 396


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_of_2000_bots_the_3_sick_ones_are_taken_back_and_every_wave_passes(
    fleet: Fleet, publisher: Environment, settings: Settings, tmp_path: Path
) -> None:
    """They are asked like all others, and in 1 of 200 executions the model does not answer anybody."""
    long_s = 900.0
    fleet.add_many(2_000)
    with watched(fleet, publisher, settings, tmp_path, pause_ms=0.0, failing=0.005) as it:
        it.operator.publish("--waves", "10 %, all")
        it.until(lambda: it.wave(1).state == "watching")
        sick = [it.bots(1)[70], *it.bots(2)[300:1_500:1_000]]
        it.beside.obey(sick=dict.fromkeys(sick, 1.0))
        for wave in (1, 2):
            it.until(lambda n=wave: it.wave(n).state == "watching" and it.executions(n), long_s)
            found = [bot_id for bot_id in sick if bot_id in it.bots(wave)]
            it.until(lambda bots=found: set(bots) <= quarantined(fleet), long_s)
            it.until(lambda n=wave: it.executions(n) > 150, long_s)
            it.soak(wave)
            it.until(lambda n=wave: it.wave(n).state == "passed", long_s)
            said = it.said(wave)
            print(f"wave {wave}: {it.executions(wave):,} executions: {said['sentence']}")
        it.until(lambda: it.operator.state == "completed")
    assert quarantined(fleet) == {*sick}
    assert [(wave.state, wave.quarantined) for wave in it.operator.read()[1]] == [
        ("passed", 1),
        ("passed", 2),
    ]
    assert (it.operator.count("confirmed"), it.operator.count("quarantined")) == (1_997, 3)
    flags = fleet.rows("SELECT bot_id FROM bots WHERE NOT use_workflow_v2")
    assert {row.bot_id for row in flags} == {*sick}


def quarantined(fleet: Fleet) -> set[str]:
    """The bots that are back on V1 alone."""
    rows = fleet.rows("SELECT bot_id FROM flowshift.publication_bots WHERE state = 'quarantined'")
    return {row.bot_id for row in rows}


def test_a_regression_is_taken_back_an_outage_only_holds_and_silence_never_passes(
    fleet: Fleet, publisher: Environment, settings: Settings, tmp_path: Path
) -> None:
    fleet.add_many(120)
    with watched(fleet, publisher, settings, tmp_path, pause_ms=10.0, failing=0.02) as it:
        operator = it.operator
        operator.publish("--waves", "10 %, 40 %, all", "--gate", "rollback")
        it.until_out(1)
        operator.accept()

        # Those out before are asked more: they show that they are well, and later the outage.
        loud = dict.fromkeys(it.bots(1), 10)
        it.beside.order(sick=dict.fromkeys(it.bots(2), 0.12), loud=loud)
        it.until_held("alarm")
        at_alarm = it.executions(2)
        assert operator.count("rolled_back") == 0
        it.until_held("failed")
        said = it.said(2)
        assert (said["outcome"], it.wave(2).state) == ("failed", "rolled_back")
        back = len(it.bots(2))
        assert "normal is at most 2 %" in said["sentence"]
        assert at_alarm < 400  # in 999 of 1,000 cases 227, and what comes between two looks
        assert (operator.count("rolled_back"), operator.count("confirmed")) == (back, 12)
        explained = operator.do("gate", "1", "2", "--explain", "--json", codes=(1,))
        assert json.loads(explained.stdout)

        # Those that were out before are asked more: they must show an outage as soon as the wave.
        it.beside.obey(sick={}, failing=0.0, loud=dict.fromkeys(it.bots(1), 30))
        operator.go()
        it.until(lambda: it.wave(3).state == "publishing" or it.wave(3).state == "watching")
        it.until(lambda: it.wave(3).state == "watching" and it.executions(3) > 5)
        it.beside.order(outage=True)
        it.until_held("disturbed")
        assert operator.count("rolled_back") == back
        assert (it.said(3)["outcome"], it.wave(3).state) == ("disturbed", "watching")

        it.beside.obey(outage=False, loud={}, silent=it.bots(3))
        operator.go()
        it.until(lambda: it.said(3)["outcome"] == "watching")
        it.soak(3)
        it.until_held("inconclusive")
        assert "missing" in it.said(3)["sentence"]
        assert operator.count("rolled_back") == back
        operator.do("accept", "1", "--reason", "we have seen enough", "--detach")
        assert operator.state == "completed"
