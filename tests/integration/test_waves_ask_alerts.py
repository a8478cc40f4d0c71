"""No further wave begins while an alert rule fires that the publication names, or that nobody judges."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet
from tests.gate import Gate
from tests.integration.conftest import Run
from tests.publishing import Publishing
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.waves import Options
from worker.steps.publication import control
from worker.steps.publication.plan import Wanted


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Three bots, the first of which has passed as a wave of one, with a second wave that asks `slow`."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    wanted = Wanted(
        run_id=1,
        steps=parse_waves("1, all"),
        wishes=Wishes(),
        options=Options(target="guide", alerts=("slow",)),
    )
    control.publish(gate.fleet.current, wanted, request_id="r", actor="me")
    gate.work()
    gate.execute(gate.bots(1), 80)
    return gate


def stands(gate: Gate, state: str, age: str = "0 s") -> None:
    gate.fleet.execute(
        "INSERT INTO flowshift.alerts (rule, state, since, judged_at, said) VALUES"
        f" ('slow', '{state}', now(), now() - interval '{age}', 'm is 812 ms, above 500 ms')"
        " ON CONFLICT (rule) DO UPDATE SET state = excluded.state, judged_at = excluded.judged_at"
    )


def test_a_wave_waits_while_the_rule_fires_and_begins_by_itself_afterwards(gate: Gate) -> None:
    stands(gate, "firing")
    [said] = gate.tick()
    assert "wave 2 waits: the alert slow is firing: m is 812 ms, above 500 ms" in said
    assert gate.states() == ("watching", ["passed", "pending"])

    stands(gate, "ok")
    gate.tick()

    assert gate.states() == ("publishing", ["passed", "publishing"])


def test_a_rule_that_nobody_judges_keeps_the_wave_waiting(gate: Gate) -> None:
    assert "wave 2 waits: the alert slow was never judged: the beat judges it" in gate.tick()[0]
    stands(gate, "ok", age="20 minutes")

    assert "wave 2 waits: the alert slow was last judged 20 min" in gate.tick()[0]


def test_the_name_of_no_rule_is_refused_with_the_one_that_may_be_meant(
    gate: Gate, flowshift: Run
) -> None:
    code, _, err = flowshift("publish", "1", "--alert", "no-wroker", "--yes")

    assert code == 2
    assert "there is no alert 'no-wroker'; did you mean no-worker?" in err
