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
from worker.steps.publication.begin import Going
from worker.steps.publication.plan import Wanted


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Three bots that are proven, to be published by a wave of one and the rest, which ask `slow`."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    return Gate(Publishing(fleet))


def publish(gate: Gate) -> Going:
    wanted = Wanted(
        run_id=1,
        steps=parse_waves("1, all"),
        wishes=Wishes(),
        options=Options(target="guide", alerts=("slow",)),
    )
    return control.publish(gate.fleet.current, wanted, request_id="r", actor="me")


def stands(gate: Gate, state: str, age: str = "0 s") -> None:
    gate.fleet.execute(
        "INSERT INTO flowshift.alerts (rule, state, since, judged_at, said) VALUES"
        f" ('slow', '{state}', now(), now() - interval '{age}', 'm is 812 ms, above 500 ms')"
        " ON CONFLICT (rule) DO UPDATE SET state = excluded.state, judged_at = excluded.judged_at"
    )


def first_is_out(gate: Gate) -> None:
    """The first wave is out, and its bot has answered so often that the gate lets it pass."""
    stands(gate, "ok")
    publish(gate)
    gate.work()
    gate.execute(gate.bots(1), 80)


def test_the_first_wave_waits_while_the_rule_fires_and_begins_by_itself(gate: Gate) -> None:
    stands(gate, "firing")
    going = publish(gate)
    assert going.run_id is None
    assert "wave 1 waits: the alert slow is firing: m is 812 ms, above 500 ms" in going.said
    gate.tick()
    assert gate.states() == ("planned", ["pending", "pending"])

    stands(gate, "ok")
    gate.tick()

    assert gate.states() == ("publishing", ["publishing", "pending"])


def test_a_wave_that_is_watched_does_not_pass_while_the_rule_fires(gate: Gate) -> None:
    first_is_out(gate)
    stands(gate, "firing")

    for _ in range(2):
        [said] = gate.tick()
        assert (
            said == "wave 1 does not pass yet: the alert slow is firing: m is 812 ms, above 500 ms"
        )
    assert gate.states() == ("watching", ["watching", "pending"])
    reason = gate.fleet.rows("SELECT state_reason FROM flowshift.publications")[0].state_reason
    assert reason == said

    stands(gate, "ok")
    gate.tick()
    assert gate.states() == ("publishing", ["passed", "publishing"])


def test_the_next_wave_asks_too_where_a_person_accepted_the_one_before(gate: Gate) -> None:
    first_is_out(gate)
    stands(gate, "firing")

    going = control.accept(gate.fleet.current, 1, 1, actor="me", reason="night")

    assert "wave 2 waits: the alert slow is firing" in going.said
    assert gate.states() == ("watching", ["accepted", "pending"])


def test_a_rule_that_nobody_judges_keeps_a_wave_waiting(gate: Gate) -> None:
    assert "wave 1 waits: the alert slow was never judged: the beat judges it" in publish(gate).said
    stands(gate, "ok", age="20 minutes")

    assert "wave 1 waits: the alert slow was last judged 20 min" in gate.tick()[0]


def test_the_name_of_no_rule_is_refused_with_the_one_that_may_be_meant(
    gate: Gate, flowshift: Run
) -> None:
    code, _, err = flowshift("publish", "1", "--alert", "no-wroker", "--yes")

    assert code == 2
    assert "there is no alert 'no-wroker'; did you mean no-worker?" in err
