"""The gate with a live beat and worker: a publication goes through its waves by itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from tests.fleet import Fleet
from tests.gate import Gate
from tests.live import Environment, eventually, flowshift, running
from tests.publishing import Publishing

pytestmark = pytest.mark.acceptance

SOAK_S = 3


def test_a_publication_goes_through_two_waves_by_itself_and_a_failing_third_stops_it(
    fleet: Fleet, sender: Celery, publisher: Environment, tmp_path: Path
) -> None:
    fleet.add_many(9)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    environment = {
        **publisher,
        "FLOWSHIFT_GATE_S": "1",
        "FLOWSHIFT_GATE_MIN_SOAK_S": str(SOAK_S),
        "FLOWSHIFT_GATE": "rollback",
    }
    asked = ("--waves", "1, 3, all", "--without-backup", "--yes", "--detach")
    begun = flowshift(environment, "publish", "1", *asked)
    assert begun.returncode == 0, begun.stderr

    def is_out(wave: int) -> bool:
        return gate.waves()[wave - 1].state == "watching"

    with running(environment, tmp_path):
        for wave in (1, 2):
            eventually(partial(is_out, wave))
            assert gate.waves()[wave].state == "pending", "nobody let it go on"
            gate.execute(gate.bots(wave), 80)
        eventually(lambda: is_out(3))
        gate.execute(gate.bots(3), 0, 9)
        eventually(lambda: gate.read().held_because == "alarm")
        assert gate.live() > set(gate.bots(3)), "an alarm alone takes nothing back"
        gate.execute(gate.bots(3), 0, 1)
        gate.execute(gate.bots(1), 8)
        eventually(lambda: gate.read().held_because == "failed")

    assert gate.states() == ("held failed", ["passed", "passed", "rolled_back"])
    assert gate.live() == {*gate.bots(1), *gate.bots(2)}
    for one in gate.waves()[:2]:
        assert one.watched_from is not None
        assert one.decided_at is not None
        assert (one.decided_at - one.watched_from).total_seconds() >= SOAK_S

    shown = flowshift(environment, "publication", "1")
    assert "publication 1 is held: wave 3 failed" in shown.stdout
    assert "no look for" not in shown.stdout
    explained = flowshift(environment, "gate", "1", "2", "--explain")
    assert explained.returncode == 0, explained.stderr
    assert "0 of 141 failed: a rate of 5 % is refuted" in explained.stdout
    assert "judged again from what is stored: the same" in explained.stdout
    assert flowshift(environment, "gate", "1").returncode == 1
