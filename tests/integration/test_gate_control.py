"""A person's way around the gate: accept, go, hold, and what `gate` and `publication` show of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.fleet import Fleet
from tests.gate import Gate, soaking
from tests.integration.conftest import Run as Command
from tests.publishing import Publishing
from worker.core.policy.health import Verdict
from worker.errors import StaleError, UsageError
from worker.steps import transitions
from worker.steps.breaker import stop_for_health
from worker.steps.publication import begin, control
from worker.steps.publication.begin import Going


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Six bots with proven drafts."""
    fleet.add_many(6)
    fleet.run(validate="sample:1")
    return Gate(Publishing(fleet))


def accept(gate: Gate, wave: int | None = None, reason: str = "seen") -> Going:
    return control.accept(gate.fleet.current, 1, wave, actor="me", reason=reason)


def inconclusive(gate: Gate) -> None:
    """A publication whose first wave was inconclusive."""
    gate.start()
    gate.work()
    gate.limits = soaking(0, 0)
    gate.tick()
    assert gate.states()[0] == "held inconclusive"


def failed(gate: Gate) -> None:
    """A publication whose second wave failed."""
    gate.start("1, all")
    gate.work()
    gate.execute(gate.bots(1), 80)
    gate.tick()
    gate.work()
    gate.execute(gate.bots(2), 0, 9)
    gate.tick()
    assert gate.states() == ("held failed", ["passed", "failed"])


def half_out(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> int:
    """A publication of which three of six bots are out; returns its run."""
    monkeypatch.setattr(begin, "BATCH", 3)
    run_id = gate.start("all").run_id or 0
    gate.fleet.convert(run_id, 1)
    assert len(gate.live()) == 3
    return run_id


# -- accept ------------------------------------------------------------------------------------------


def test_an_inconclusive_wave_is_accepted_by_name_and_reason_and_never_judged_again(
    gate: Gate,
) -> None:
    inconclusive(gate)
    assert "publishes wave 2" in accept(gate, reason="little traffic").said
    first = gate.waves()[0]
    assert (first.state, first.accepted_by, first.accepted_reason) == (
        "accepted",
        "me",
        "little traffic",
    )
    assert gate.publishing.state(gate.bots(1)[0]) == "confirmed"
    assert gate.audit()[-2:] == ["accepted", "publishing"]
    gate.execute(gate.bots(1), 0, 50)
    gate.work()
    gate.limits = soaking(0, 86_400)
    gate.tick()
    assert gate.states() == ("watching", ["accepted", "watching", "pending"])


def test_a_wave_that_failed_is_accepted_and_not_failed_again_by_the_same_executions(
    gate: Gate,
) -> None:
    failed(gate)
    assert accept(gate, 2).said == (
        "accepted wave 2, which failed: 5 bots. Publication 1 is completed: every wave is out"
    )
    assert gate.states() == ("completed", ["passed", "accepted"])
    assert gate.tick() == []


def test_a_wave_is_accepted_while_it_is_watched(gate: Gate) -> None:
    gate.start()
    gate.work()
    accept(gate, 1)
    assert gate.states() == ("publishing", ["accepted", "publishing", "pending"])


def test_accepted_while_a_person_holds_it_the_publication_stays_held(gate: Gate) -> None:
    gate.start()
    gate.work()
    control.hold(gate.fleet.current, 1, actor="me", reason="look")
    assert "still held" in accept(gate, 1).said
    assert gate.states() == ("held person", ["accepted", "pending", "pending"])
    assert "publishes wave 2" in gate.go().said


def test_typed_twice_accept_never_takes_the_wave_that_came_after(gate: Gate) -> None:
    inconclusive(gate)
    accept(gate)
    gate.work()
    gate.limits = soaking(0, 86_400)
    gate.tick()

    with pytest.raises(
        UsageError, match=r"wave 2 .* is watched: .* `flowshift accept 1 2 --reason"
    ):
        accept(gate)
    with pytest.raises(UsageError, match="wave 1 is accepted: there is nothing to accept"):
        accept(gate, 1)
    assert gate.states() == ("watching", ["accepted", "watching", "pending"])
    assert accept(gate, 2).run_id is not None


@pytest.mark.parametrize(
    ("wave", "said"),
    [(2, "wave 2 is pending: there is nothing to accept"), (9, "has no wave 9")],
)
def test_what_is_not_to_be_accepted_is_refused(gate: Gate, wave: int, said: str) -> None:
    gate.start()
    gate.work()
    with pytest.raises(UsageError, match=said):
        accept(gate, wave)
    with pytest.raises(UsageError, match="say why"):
        accept(gate, 1, reason="  ")
    assert gate.states() == ("watching", ["watching", "pending", "pending"])


def test_a_wave_that_is_not_out_is_not_accepted(gate: Gate) -> None:
    gate.start()
    with pytest.raises(UsageError, match="is publishing: no wave"):
        accept(gate)


# -- go, hold ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [failed, inconclusive])
def test_go_needs_a_reason_to_pass_over_the_gate(gate: Gate, make: object) -> None:
    make(gate)  # type: ignore[operator]
    before = gate.states()
    with pytest.raises(UsageError, match="say why: --reason"):
        gate.go()
    assert gate.states() == before
    said = gate.go("looked at each of them").said
    assert re.match(r"accepted wave \d, which (failed|was inconclusive): \d bots?\. Public", said)
    assert "accepted" in gate.states()[1]


@pytest.mark.parametrize("reason", [None, "typed twice by mistake"])
def test_go_accepts_no_wave_that_is_watched(gate: Gate, reason: str | None) -> None:
    inconclusive(gate)
    gate.work(gate.go("little traffic").run_id)
    before, trail = gate.states(), gate.audit()
    assert before == ("watching", ["accepted", "watching", "pending"])
    with pytest.raises(UsageError, match=r"nothing was changed.* the gate decides"):
        gate.go(reason)
    assert (gate.states(), gate.audit()) == (before, trail)
    assert gate.publishing.state(gate.bots(2)[0]) == "published"


def test_go_changes_nothing_while_a_wave_is_published(gate: Gate) -> None:
    run_id = gate.start().run_id
    trail = gate.audit()
    assert gate.go("typed by mistake") == Going(1, run_id, "publishes wave 1")
    assert gate.states() == ("publishing", ["publishing", "pending", "pending"])
    assert gate.audit() == trail


def test_a_wave_that_failed_before_it_was_out_goes_on_by_new_executions_alone(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = half_out(gate, monkeypatch)
    out = sorted(gate.live())
    assert len(out) == 3
    gate.execute(out, 0, 9)
    gate.tick()
    assert gate.states() == ("held failed", ["failed"])
    with pytest.raises(UsageError, match="not out yet"):
        accept(gate)
    with pytest.raises(UsageError, match="say why"):
        gate.go()

    again = gate.go("the provider was down")
    assert again.run_id == run_id
    assert "The wave is not accepted" in again.said
    assert gate.states() == ("publishing", ["publishing"])
    gate.work(again.run_id)
    [said] = gate.tick()
    assert "no alarm yet: 70 clean executions missing" in said
    assert len(gate.live()) == 6
    gate.execute(gate.bots(1), 0, 9)
    gate.tick()
    assert gate.states() == ("held failed", ["failed"])


def test_held_by_a_person_the_gate_does_not_look(gate: Gate) -> None:
    gate.start()
    gate.work()
    control.hold(gate.fleet.current, 1, actor="me", reason="look")
    gate.execute(gate.bots(1), 80)
    assert gate.tick() == ["is held: look"]
    assert gate.kept() == []


# -- beside its run ------------------------------------------------------------------------------------


def paused_for_health(gate: Gate) -> int:
    """A publication whose run a health check has paused."""
    run_id = gate.start("all").run_id or 0
    stop = Verdict("stop", "replication_lag", "the replica is 90 s behind")
    assert stop_for_health(gate.fleet.engine, run_id, lambda: stop)
    assert "held: run 2 paused: replication_lag" in gate.tick()[0]
    assert gate.states() == ("held health", ["publishing"])
    return run_id


def test_a_publication_is_held_while_a_health_check_pauses_its_run_and_goes_on_with_it(
    gate: Gate,
) -> None:
    run_id = paused_for_health(gate)
    gate.tick()
    assert gate.states() == ("held health", ["publishing"])
    transitions.resume(gate.fleet.engine, run_id, actor="me", reason=None)
    assert gate.tick()[0].startswith("goes on: run 2 works again")
    assert gate.states() == ("publishing", ["publishing"])
    gate.work()
    assert gate.states() == ("watching", ["watching"])


def test_a_batch_of_the_resumed_run_lets_the_publication_go_on_without_a_tick(gate: Gate) -> None:
    run_id = paused_for_health(gate)
    transitions.resume(gate.fleet.engine, run_id, actor="me", reason=None)
    with pytest.raises(StaleError):
        gate.fleet.convert(run_id, 1)
    assert gate.states() == ("publishing", ["publishing"])
    assert gate.fleet.get(run_id).state == "running"
    gate.work(run_id)
    assert len(gate.live()) == 6


def test_a_wave_that_fails_while_its_run_is_paused_stays_held_for_that(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = half_out(gate, monkeypatch)
    stop = Verdict("stop", "query", "so it is")
    assert stop_for_health(gate.fleet.engine, run_id, lambda: stop)
    gate.tick()
    assert gate.states() == ("held health", ["publishing"])
    gate.execute(sorted(gate.live()), 0, 9)
    gate.tick()
    assert gate.states() == ("held failed", ["failed"])
    transitions.resume(gate.fleet.engine, run_id, actor="me", reason=None)
    gate.tick()
    assert gate.states() == ("held failed", ["failed"])


def test_a_publication_whose_run_failed_is_held_and_go_publishes_the_rest(gate: Gate) -> None:
    run_id = gate.start("all").run_id or 0
    gate.fleet.execute(
        "UPDATE flowshift.batches SET state = 'failed', finished_at = now() WHERE run_id = :id",
        id=run_id,
    )
    gate.work(run_id)
    [said] = gate.tick()
    assert "run 2 completed with failures, and 6 bots of wave 1 are not out" in said
    assert gate.states() == ("held failed", ["publishing"])
    gate.work(gate.go().run_id)
    assert len(gate.live()) == 6


# -- the commands --------------------------------------------------------------------------------------


def test_gate_says_what_was_said_and_computes_it_again(flowshift: Command, gate: Gate) -> None:
    gate.start("1, all")
    gate.work()
    assert flowshift("gate", "1")[1].endswith("the gate has not looked at it yet\n")
    gate.tick()
    code, out, _ = flowshift("gate", "1")
    assert (code, "watching: no alarm yet: 70 clean" in out) == (0, True)
    gate.execute(gate.bots(1), 0, 8)
    gate.tick()

    code, out, _ = flowshift("gate", "1", "--explain")
    assert code == 1
    assert "failed: 1 of 1 bot is sick" in out
    assert "judged again from what is stored: the same" in out
    [line] = [one for one in out.splitlines() if one.startswith("failed  ")]
    assert line.split()[:4] == ["failed", "8", "8", "1"]

    code, out, _ = flowshift("gate", "1", "1", "--explain", "--json")
    told = json.loads(out)
    assert code == 1
    assert (told["outcome"], told["agrees"], told["again"]["outcome"]) == ("failed", True, "failed")
    assert told["metrics"][0]["n"] == 8
    assert told["reading"]["metrics"][0]["count"] == {"failed": 8, "executions": 8}


def test_a_verdict_that_does_not_follow_from_its_reading_is_found(
    flowshift: Command, gate: Gate
) -> None:
    gate.start("1, all")
    gate.work()
    gate.tick()
    gate.fleet.execute("UPDATE flowshift.gate_readings SET outcome = 'passed', sentence = 'well'")
    code, out, _ = flowshift("gate", "1", "--explain")
    assert code == 4
    assert "it is ANOTHER verdict: watching: no alarm yet" in out


def test_a_verdict_in_the_words_of_another_version_is_the_same_verdict(
    flowshift: Command, gate: Gate
) -> None:
    gate.start("1, all")
    gate.work()
    gate.execute(gate.bots(1), 0, 8)
    gate.tick()
    gate.fleet.execute("UPDATE flowshift.gate_readings SET sentence = '1 of 1 bots is sick'")
    code, out, _ = flowshift("gate", "1", "--explain")
    assert code == 1
    assert "failed: 1 of 1 bots is sick" in out
    assert "judged again from what is stored: the same" in out


def test_publication_shows_the_waves_and_warns_if_nothing_looks(
    flowshift: Command, gate: Gate
) -> None:
    gate.start("1, all", "observe")
    gate.work()
    gate.execute(gate.bots(1), 11, 1)
    gate.tick()
    _, out, _ = flowshift("publication", "1")
    assert "publication 1 is watching" in out
    assert "gate: observe; it last looked" in out
    assert "no look for" not in out
    heads, first = (line.split() for line in out.splitlines()[2:4])
    assert heads[heads.index("executions") :][:4] == ["executions", "failed", "slow", "costly"]
    assert first[:2] == ["1", "(1)"]
    assert first[-5:-1] == ["12", "1", "0", "0"]

    gate.fleet.execute(
        "UPDATE flowshift.publications SET looked_at = now() - interval '9 min',"
        " moved_at = now() - interval '9 min'"
    )
    _, out, _ = flowshift("publication", "1")
    assert "no look for 9 min 0 s: nothing judges this publication now" in out
    told = json.loads(flowshift("publication", "1", "--json")[1])
    assert 539 < told["gate_late_s"] < 600
    assert told["waves"][0]["verdict"]["metrics"]["failed"] == {"failed": 1, "executions": 12}
    assert told["waves"][1]["verdict"] is None


def test_of_a_wave_that_failed_publication_says_how_to_take_back_that_wave(
    flowshift: Command, gate: Gate
) -> None:
    failed(gate)
    out = flowshift("publication", "1")[1]
    assert "or take it back: flowshift rollback --publication 1 --wave 2\n" in out


def test_of_what_a_person_holds_publication_says_how_to_take_back_all(
    flowshift: Command, gate: Gate
) -> None:
    gate.start()
    control.hold(gate.fleet.current, 1, actor="me", reason="look")
    out = flowshift("publication", "1")[1]
    assert "or take it back: flowshift rollback --publication 1\n" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["accept", "1"], "Missing option '--reason'"),
        (["accept", "7", "--reason", "x"], "there is no publication 7"),
        (["gate", "7"], "there is no publication 7"),
        (["gate", "1", "9"], "publication 1 has no wave 9: it has 3 waves"),
        (["gate", "1", "0"], "is not a whole number from 1"),
        (["publish", "1", "--gate", "open"], "'open' is not one of"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    flowshift: Command, gate: Gate, arguments: list[str], said: str
) -> None:
    gate.start()
    code, _, err = flowshift(*arguments)
    assert (code, said in err) == (2, True), err


def test_the_mode_is_that_of_the_option_else_of_the_setting(
    flowshift: Command, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWSHIFT_GATE", "rollback")
    for arguments in (["--gate", "observe"], []):
        assert flowshift("publish", "1", "--yes", "--detach", *arguments)[0] == 0
    assert [gate.read(number).gate for number in (1, 2)] == ["observe", "rollback"]
