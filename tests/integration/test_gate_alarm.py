"""An alarm stands until it is known whether it is this wave or an outage: on real PostgreSQL, by ticks."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.fleet import Fleet
from tests.gate import NO_SOAK, Gate
from tests.publishing import Publishing
from worker.core.publication.gate import GateMode
from worker.db.publication.rolling import Which
from worker.steps.publication import control, rollback

FLEET = 6
WAITS = msgspec.structs.replace(NO_SOAK, confirm_s=300)


def waiting(fleet: Fleet, bots: int) -> Gate:
    fleet.add_many(bots)
    fleet.run(validate="sample:1")
    gate = Gate(Publishing(fleet))
    gate.limits = WAITS
    return gate


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Six bots with proven drafts."""
    return waiting(fleet, FLEET)


def alarm(gate: Gate, mode: GateMode = "rollback") -> str:
    """Five bots go out after one, and their first executions fail; what the tick says."""
    gate.start("1, all", mode)
    gate.work()
    gate.execute(gate.bots(1), 80)
    gate.tick()
    gate.work()
    gate.execute(gate.bots(2), 0, 1)
    [said] = gate.tick()
    return said


def stands(gate: Gate, wave: int = 2) -> dict[str, Any]:
    """The alarm that is noted, {} for none."""
    (row,) = gate.fleet.rows(
        "SELECT alarmed::text AS alarmed FROM flowshift.gate_looks WHERE wave = :wave", wave=wave
    )
    return {} if row.alarmed is None else json.loads(row.alarmed)


def wait(gate: Gate, seconds: int, wave: int = 2) -> None:
    """Let the alarm stand for so much longer."""
    gate.fleet.execute(
        "UPDATE flowshift.gate_looks SET alarmed = jsonb_set(alarmed, '{at_s}',"
        " to_jsonb((alarmed ->> 'at_s')::float8 - :seconds)) WHERE wave = :wave",
        seconds=seconds,
        wave=wave,
    )


# -- a wave ----------------------------------------------------------------------------------------


def test_an_alarm_holds_at_once_and_takes_nothing_back(gate: Gate) -> None:
    said = alarm(gate)
    assert said.startswith("held: wave 2 alarmed: 5 of 5 failed, normal is at most 2 %")
    assert "; held until it is seen whether it goes on, at " in said
    assert said.endswith(" UTC at the latest")
    assert gate.states() == ("held alarm", ["passed", "watching"])
    assert len(gate.live()) == FLEET
    assert stands(gate)["alarm"]["kind"] == "rate"
    assert gate.audit()[-1] == "held"


def test_it_is_taken_back_once_the_bots_out_before_are_well_while_it_fails_on(gate: Gate) -> None:
    alarm(gate)
    gate.execute(gate.bots(2), 0, 1)
    gate.execute(gate.bots(1), 7)
    [said] = gate.tick()
    assert said.startswith("is held: wave 2 alarmed: ")
    assert "(1 clean execution missing)" in said
    gate.execute(gate.bots(1), 1)
    [said] = gate.tick()
    assert "since then 5 of 5 failed, and of bots that were out before 0 of 8 failed" in said
    assert "wave 2 was taken back: V1 answers on 5 bots" in said
    assert gate.states() == ("held failed", ["passed", "rolled_back"])
    assert gate.live() == set(gate.bots(1))
    assert stands(gate) == {}


def test_in_the_mode_pause_it_fails_as_late_and_stays_out(gate: Gate) -> None:
    alarm(gate, "pause")
    gate.execute(gate.bots(2), 0, 1)
    gate.execute(gate.bots(1), 8)
    [said] = gate.tick()
    assert said.startswith("held: wave 2 failed: ")
    assert gate.states() == ("held failed", ["passed", "failed"])
    assert len(gate.live()) == FLEET


def test_an_outage_shows_itself_after_the_alarm_and_nothing_is_taken_back(gate: Gate) -> None:
    alarm(gate)
    gate.execute(gate.bots(2), 0, 1)
    gate.execute(gate.bots(1), 0, 2)
    [said] = gate.tick()
    assert "since then, of bots that were out before, 2 of 2 failed: an outage" in said
    assert gate.states() == ("held disturbed", ["passed", "watching"])
    assert len(gate.live()) == FLEET
    assert gate.go().said == "is watching wave 2 again"
    assert gate.tick()[0].startswith("wave 2: no alarm yet: 70 clean executions missing")


def test_what_others_did_before_the_alarm_shows_nothing(gate: Gate) -> None:
    alarm(gate)
    gate.execute(gate.bots(2), 0, 1)
    gate.execute(gate.bots(1), 60)
    gate.fleet.execute(
        "UPDATE workflow_execution_runs SET created_at = created_at - interval '30 seconds'"
        " WHERE bot_id = :bot AND created_at > to_timestamp(:at)",
        bot=gate.bots(1)[0],
        at=stands(gate)["at_s"],
    )
    assert gate.tick()[0].startswith("is held: wave 2 alarmed: ")


def test_others_that_are_still_running_may_fail_yet(gate: Gate) -> None:
    alarm(gate)
    gate.execute(gate.bots(2), 0, 1)
    gate.execute(gate.bots(1), 8)
    gate.fleet.execute(
        "UPDATE workflow_execution_runs SET status = 'running', elapsed_time = NULL,"
        " finished_at = NULL WHERE bot_id = :bot AND created_at > to_timestamp(:at)",
        bot=gate.bots(1)[0],
        at=stands(gate)["at_s"],
    )
    gate.execute(gate.bots(1), 8)
    assert gate.tick()[0].startswith("is held: wave 2 alarmed: ")


def test_where_nobody_else_is_asked_a_minute_decides(gate: Gate) -> None:
    gate.start("all", "rollback")
    gate.work()
    gate.execute(gate.bots(1), 0, 1)
    gate.tick()
    gate.execute(gate.bots(1), 0, 1)
    wait(gate, 50, wave=1)
    assert gate.tick()[0].startswith("is held: wave 1 alarmed: ")
    wait(gate, 11, wave=1)
    [said] = gate.tick()
    assert "and of bots that were out before no execution came: it is this wave" in said
    assert gate.live() == set()


def test_what_is_over_is_no_reason_to_take_a_wave_back(gate: Gate) -> None:
    alarm(gate)
    gate.execute(gate.bots(2), 14)
    gate.execute(gate.bots(1), 50)
    [said] = gate.tick()
    assert "since then 0 of 70 failed: it is over, and nothing is taken back" in said
    assert gate.states() == ("held disturbed", ["passed", "watching"])


def test_the_alarm_that_stands_is_not_begun_again_by_a_later_look(gate: Gate) -> None:
    alarm(gate)
    first = stands(gate)
    gate.execute(gate.bots(2), 0, 20)
    again = Gate(gate.publishing)
    again.limits = WAITS
    again.tick()
    assert stands(gate) == first
    assert [one for one in gate.kept() if one[0] == 2] == [(2, "alarmed")] * 2


def test_while_a_person_holds_it_the_gate_decides_nothing(gate: Gate) -> None:
    alarm(gate)
    assert control.hold(gate.fleet.current, 1, actor="me", reason="I look")
    gate.execute(gate.bots(2), 0, 1)
    gate.execute(gate.bots(1), 8)
    assert gate.tick() == ["is held: I look"]
    assert gate.states() == ("held person", ["passed", "watching"])


def test_a_person_lets_an_alarm_go_and_only_what_comes_now_counts(gate: Gate) -> None:
    alarm(gate)
    gate.go()
    assert stands(gate) == {}
    assert gate.tick()[0].startswith("wave 2: no alarm yet: 70 clean executions missing")


def test_a_wave_that_a_person_took_back_meanwhile_leaves_nothing_to_decide(gate: Gate) -> None:
    alarm(gate)
    which = Which(publication_id=1, wave=2)
    rollback.roll_back(
        gate.fleet.current, which, digest=None, actor="me", reason="mine", show=lambda _: None
    )
    assert gate.tick() == ["is held: mine"]
    assert gate.live() == set(gate.bots(1))


# -- single bots -----------------------------------------------------------------------------------


@pytest.fixture
def many(fleet: Fleet) -> Gate:
    """Two hundred bots with proven drafts, all out; one of them has failed seven times."""
    gate = waiting(fleet, 200)
    gate.start("all", "rollback")
    gate.work()
    gate.execute(gate.bots(1)[:1], 0, 7)
    [said] = gate.tick()
    assert "sick, unless all others are: 'bot-00000'" in said
    return gate


def test_a_single_bot_goes_back_once_the_others_are_well_while_it_fails_on(many: Gate) -> None:
    sick, *others = many.bots(1)
    assert many.publishing.state(sick) == "published"
    many.execute([sick], 0, 2)
    many.execute(others[:7], 1)
    many.tick()
    assert many.publishing.state(sick) == "published"
    many.execute(others[7:], 1)
    [said] = many.tick()
    assert f"sick alone: '{sick}'" in said
    assert many.publishing.state(sick) == "quarantined"
    many.tick()
    assert many.states() == ("completed", ["passed"])


def test_in_an_outage_no_single_bot_goes_back(many: Gate) -> None:
    sick, *others = many.bots(1)
    many.execute([sick], 0, 2)
    many.execute(others[:40], 1)
    many.execute(others[:20], 0, 1)
    many.tick()
    assert many.publishing.state(sick) == "published"
    assert many.waves()[0].quarantined == 0


def test_a_wave_does_not_pass_while_a_bot_of_it_may_be_sick(many: Gate) -> None:
    sick, *others = many.bots(1)
    many.execute(others, 2)
    [said] = many.tick()
    assert "sick, unless all others are" in said
    assert many.states() == ("watching", ["watching"])
    wait(many, 301, wave=1)
    many.tick()
    assert many.publishing.state(sick) == "quarantined"
    many.tick()
    assert many.states() == ("completed", ["passed"])
