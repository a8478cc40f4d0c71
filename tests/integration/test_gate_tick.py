"""The gate's tick on real PostgreSQL: what follows from each verdict, once, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow
from tests.gate import Gate, soaking
from tests.publishing import Publishing
from worker.core.policy.health import Verdict
from worker.core.publication.baseline import Count
from worker.core.publication.evidence import Reading
from worker.core.publication.gate import GateMode
from worker.db.publication import moves, readings, waves
from worker.errors import TransientError
from worker.runtime import Runtime
from worker.steps.batch import publish as batch_step
from worker.steps.publication import begin, control, decide, take_back

FLEET = 6


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Six bots with proven drafts."""
    fleet.add_many(FLEET)
    fleet.run(validate="sample:1")
    return Gate(Publishing(fleet))


def out(gate: Gate, text: str = "1, 2, all", mode: GateMode = "pause") -> None:
    """Begin a publication, and publish its first wave."""
    gate.start(text, mode)
    gate.work()


# -- passing -----------------------------------------------------------------------------------------


def test_a_publication_goes_through_its_waves_by_itself(gate: Gate) -> None:
    out(gate)
    assert "70 clean executions missing" in gate.tick()[0]
    for number in (1, 2, 3):
        gate.execute(gate.bots(number), 80)
        [said] = gate.tick()
        assert f"wave {number} passed: " in said
        assert "a rate of 5 % is refuted" in said
        if number < 3:
            assert gate.states()[0] == "publishing"
            gate.work()

    assert gate.states() == ("completed", ["passed"] * 3)
    assert gate.tick() == []
    bots = [bot_id for number in (1, 2, 3) for bot_id in gate.bots(number)]
    assert {gate.publishing.state(bot_id) for bot_id in bots} == {"confirmed"}
    assert gate.live() == set(bots)
    assert gate.audit() == [
        "created",
        *["publishing", "wave_passed"] * 3,
        "completed",
    ]
    assert gate.queue.messages == ["publish 3/1", "publish 4/1"], "the first is sent by its command"
    assert gate.kept() == [(1, "watching"), (1, "passed"), (2, "passed"), (3, "passed")]


def test_what_is_missing_is_said_and_kept_and_nothing_moves(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 30)
    [said] = gate.tick()
    assert said.startswith("wave 1: no alarm yet: 40 clean executions missing")
    assert gate.states() == ("watching", ["watching", "pending", "pending"])
    assert gate.waves()[0].sentence == said.removeprefix("wave 1: ")
    assert gate.read().looked_at is not None


def test_of_looks_that_show_the_same_the_first_and_the_last_are_kept(gate: Gate) -> None:
    out(gate)
    for _ in range(5):
        gate.tick()
    assert gate.kept() == [(1, "watching")] * 2
    gate.execute(gate.bots(1), 3)
    for _ in range(3):
        gate.tick()
    assert gate.kept() == [(1, "watching")] * 4


def test_without_executions_a_wave_never_passes_and_is_inconclusive_in_the_end(gate: Gate) -> None:
    out(gate)
    gate.limits = soaking(0, 0)
    [said] = gate.tick()
    assert said.startswith("held: wave 1 is inconclusive: ")
    assert gate.states() == ("held inconclusive", ["inconclusive", "pending", "pending"])
    assert gate.tick() == [f"is {said}"]
    assert gate.live() == set(gate.bots(1))


# -- failing -----------------------------------------------------------------------------------------


def fail(gate: Gate, mode: GateMode = "pause") -> str:
    """Take a publication to a second wave, of which every execution fails."""
    until_bad(gate, mode)
    [said] = gate.tick()
    return said


def until_bad(gate: Gate, mode: GateMode) -> None:
    """All of that but the look that sees it."""
    out(gate, "1, all", mode)
    gate.execute(gate.bots(1), 80)
    gate.tick()
    gate.work()
    gate.execute(gate.bots(2), 0, 5)


@pytest.mark.parametrize("mode", ["observe", "pause"])
def test_a_wave_that_fails_stops_the_publication_and_stays_out(gate: Gate, mode: GateMode) -> None:
    said = fail(gate, mode=mode)
    assert said.startswith("held: wave 2 failed: within 5 minutes 25 of 25 failed, on 5 bots")
    assert gate.states() == ("held failed", ["passed", "failed"])
    assert gate.live() == {*gate.bots(1), *gate.bots(2)}
    assert gate.read().state_reason == said.removeprefix("held: ")
    assert gate.audit()[-2:] == ["wave_failed", "held"]
    assert gate.kept()[-1] == (2, "failed")
    # Once: that the publication is held for it goes without saying.
    failed = (
        "wave.failed",
        "Wave 2 of publication 1 failed",
        said.removeprefix("held: wave 2 failed: "),
    )
    assert gate.fleet.told()[-1:] == [failed]


def test_in_the_mode_rollback_a_wave_that_fails_is_taken_back_alone(gate: Gate) -> None:
    said = fail(gate, mode="rollback")
    assert "wave 2 was taken back: V1 answers on 5 bots" in said
    assert gate.states() == ("held failed", ["passed", "rolled_back"])
    assert gate.live() == set(gate.bots(1))
    assert "wave 2 failed" in (gate.read().state_reason or "")
    told = [kind for kind, _, _ in gate.fleet.told()]
    assert told[-3:] == ["wave.failed", "publication.rolling_back", "publication.held"]
    assert gate.waves()[1].rolled_back == 5
    assert gate.tick()[0].startswith("is held")


def test_what_would_lose_an_edit_is_not_taken_back(gate: Gate) -> None:
    out(gate, "1, all", mode="rollback")
    gate.execute(gate.bots(1), 80)
    gate.tick()
    gate.work()
    gate.fleet.change(gate.bots(2)[0], a_workflow("another {question}"))
    gate.execute(gate.bots(2), 0, 5)
    assert gate.tick()[0].startswith("held: wave 2 failed")
    assert gate.states() == ("held failed", ["passed", "failed"])
    assert len(gate.live()) == FLEET


def test_a_wave_may_fail_before_it_is_out_and_then_its_run_waits(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begin, "BATCH", 3)
    run_id = gate.start("all").run_id or 0
    gate.fleet.convert(run_id, 1)
    gate.execute(sorted(gate.live()), 0, 9)
    assert gate.tick()[0].startswith("held: wave 1 failed")
    assert gate.states() == ("held failed", ["failed"])
    assert gate.read().held_from == "publishing"
    assert gate.fleet.get(run_id).state == "paused"
    assert len(gate.live()) == 3


# -- disturbed, sick -----------------------------------------------------------------------------------


def test_an_outage_that_hits_the_control_too_holds_and_takes_nothing_back(gate: Gate) -> None:
    gate.control = Count(60, 100)
    said = fail(gate, mode="rollback")
    assert said.startswith("held: wave 2 is disturbed: ")
    assert gate.states() == ("held disturbed", ["passed", "watching"])
    assert len(gate.live()) == FLEET

    gate.control = None
    assert gate.go().said == "is watching wave 2 again"
    [said] = gate.tick()
    assert said.startswith("wave 2: no alarm yet: 70 clean"), "the outage's executions do not count"
    gate.execute(gate.bots(2), 20)
    gate.tick()
    assert gate.states() == ("completed", ["passed", "passed"])


@pytest.fixture
def many(fleet: Fleet) -> Gate:
    """Two hundred bots with proven drafts."""
    fleet.add_many(200)
    fleet.run(validate="sample:1")
    return Gate(Publishing(fleet))


def test_a_sick_bot_is_taken_back_alone_and_the_wave_goes_on(many: Gate) -> None:
    out(many, "all")
    sick, *healthy = many.bots(1)
    many.execute([sick], 0, 7)
    [said] = many.tick()
    assert f"sick alone: '{sick}'" in said
    assert many.states() == ("watching", ["watching"])
    assert many.publishing.state(sick) == "quarantined"
    assert many.live() == set(healthy)
    assert many.waves()[0].quarantined == 1
    many.execute(healthy, 1)
    many.tick()
    assert many.states() == ("completed", ["passed"])
    assert many.publishing.state(sick) == "quarantined"


def test_a_sick_bot_that_is_locked_keeps_its_wave_from_passing(many: Gate) -> None:
    out(many, "all")
    sick, *healthy = many.bots(1)
    many.execute([sick], 0, 7)
    many.execute(healthy, 3)
    with many.fleet.connect() as other:
        other.execute("SELECT FROM bots WHERE bot_id = %s FOR UPDATE", [sick])
        assert many.tick() == [
            "wave 1 passes once 1 sick bot is back on V1: locked by another session"
        ]
        other.rollback()
    assert many.states() == ("watching", ["watching"])
    many.tick()
    assert many.states() == ("completed", ["passed"])
    assert many.publishing.state(sick) == "quarantined"


def test_in_the_mode_observe_no_bot_is_taken_back_and_what_is_inconclusive_goes_on(
    many: Gate,
) -> None:
    out(many, "100, all", mode="observe")
    sick = many.bots(1)[0]
    many.execute([sick], 0, 7)
    many.tick()
    assert many.publishing.state(sick) == "published"
    many.limits = soaking(0, 0)
    many.tick()
    assert many.states() == ("publishing", ["accepted", "publishing"])
    assert many.waves()[0].accepted_by == "gate"


# -- repeated, at once, interrupted --------------------------------------------------------------------


def test_a_tick_settles_a_wave_whose_worker_died_after_the_last_commit(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(batch_step, "settle", lambda *_: None)
        out(gate)
    assert gate.states()[1][0] == "publishing"
    gate.tick()
    assert gate.states() == ("watching", ["watching", "pending", "pending"])


def test_of_two_ticks_at_once_one_looks(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)
    entered, leave, looks = threading.Event(), threading.Event(), []

    def slowly(current: Runtime, publication_id: int, wave: int) -> Reading:
        looks.append(wave)
        entered.set()
        assert leave.wait(60)
        return gate.look(current, publication_id, wave)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(gate.tick, look=slowly)
        assert entered.wait(60)
        assert gate.tick(look=slowly) == []
        leave.set()
        assert "wave 1 passed" in first.result(60)[0]
    assert looks == [1]
    assert len(gate.fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'publish'")) == 2


def test_a_person_who_acts_between_look_and_verdict_prevails(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)

    def meanwhile(current: Runtime, publication_id: int, wave: int) -> Reading:
        reading = gate.look(current, publication_id, wave)
        control.hold(current, publication_id, actor="me", reason="wait")
        return reading

    assert "has moved since the look" in gate.tick(look=meanwhile)[0]
    assert gate.states() == ("held person", ["watching", "pending", "pending"])
    assert gate.kept() == []
    assert gate.tick() == ["is held: wait"]
    gate.go()
    gate.tick()
    assert gate.states()[1][0] == "passed"


class Killed(BaseException):
    """The process ends here."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("module", "name"),
    [(readings, "keep"), (moves, "confirm_bots"), (decide, "begin_next"), (decide, "note")],
)
def test_killed_before_its_commit_a_tick_has_changed_nothing_and_the_next_does_it(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Killed):
            gate.tick()
    assert gate.states() == ("watching", ["watching", "pending", "pending"])
    assert gate.kept() == []
    assert gate.audit()[-1] == "publishing"
    gate.tick()
    assert gate.states() == ("publishing", ["passed", "publishing", "pending"])


def test_killed_between_the_verdict_and_the_rollback_the_next_tick_takes_the_wave_back(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.steps.publication import tick as ticking  # noqa: PLC0415

    with monkeypatch.context() as patch:
        patch.setattr(ticking, "take_back_wave", killed)
        with pytest.raises(Killed):
            fail(gate, mode="rollback")
    assert gate.states() == ("rolling_back", ["passed", "failed"])
    assert len(gate.live()) == FLEET
    gate.tick()
    assert gate.states() == ("held failed", ["passed", "rolled_back"])
    assert gate.live() == set(gate.bots(1))


def test_killed_in_the_rollback_the_next_tick_goes_on_with_it(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(take_back, "roll_back", killed)
        with pytest.raises(Killed):
            fail(gate, mode="rollback")
    assert gate.read().state == "rolling_back"
    gate.tick()
    assert gate.states() == ("held failed", ["passed", "rolled_back"])


@contextmanager
def locked(gate: Gate, bot_id: str) -> Iterator[None]:
    """A session of the platform's that has a bot's row."""
    with gate.fleet.engine.connect() as person:
        person.execute(sa.text("SELECT FROM bots WHERE bot_id = :b FOR UPDATE"), {"b": bot_id})
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback by the gate that waits for no locked row."""
    monkeypatch.setattr(take_back, "LONGEST_WAIT_S", 0.0)


@pytest.mark.usefixtures("impatient")
def test_what_is_locked_while_a_wave_goes_back_is_taken_back_by_the_next_ticks(gate: Gate) -> None:
    until_bad(gate, "rollback")
    stays = gate.bots(2)[0]
    with locked(gate, stays):
        assert "1 bot: locked by another session" in gate.tick()[0]
        assert gate.live() == {*gate.bots(1), stays}
        assert gate.states() == ("held failed", ["passed", "failed"])
        assert "1 bot: locked" in (gate.read().state_reason or "")
        assert gate.tick() == ["wave 2 failed: 1 bot of it still locked by another session"]
    assert gate.tick() == ["wave 2 failed; every bot of it is back on V1"]
    assert gate.live() == set(gate.bots(1))
    assert gate.states() == ("held failed", ["passed", "rolled_back"])
    assert gate.waves()[1].rolled_back == 5
    assert gate.tick() == ["is held: wave 2 failed; every bot of it is back on V1"]


@pytest.mark.usefixtures("impatient")
def test_what_was_edited_while_it_was_locked_is_left_to_a_person(gate: Gate) -> None:
    until_bad(gate, "rollback")
    edited = gate.bots(2)[0]
    with locked(gate, edited):
        gate.tick()
    gate.fleet.change(edited, a_workflow("mine {question}"))

    [said] = gate.tick()

    assert "1 bot of it stays on V2, since V1 or the version was edited" in said
    assert gate.live() == {*gate.bots(1), edited}
    assert gate.tick() == [f"is held: {said}"]


@pytest.mark.usefixtures("impatient")
def test_a_person_who_lets_it_go_on_meanwhile_keeps_what_is_left_out(gate: Gate) -> None:
    until_bad(gate, "rollback")
    stays = gate.bots(2)[0]
    with locked(gate, stays):
        gate.tick()
        gate.go("the errors were the visitors' own")

    gate.tick()

    assert gate.live() == {*gate.bots(1), stays}


@pytest.mark.usefixtures("impatient")
def test_a_person_who_lets_it_go_on_at_that_moment_prevails(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_bad(gate, "rollback")
    stays = gate.bots(2)[0]
    with locked(gate, stays):
        gate.tick()

    def meanwhile(connection: sa.Connection, publication_id: int, wave: int) -> list[str]:
        gate.go("the errors were the visitors' own")
        return live_bots(connection, publication_id, wave)

    live_bots = waves.live_bots
    monkeypatch.setattr(waves, "live_bots", meanwhile)
    assert gate.tick() == ["a person has moved publication 1: its wave stays"]
    assert gate.live() == {*gate.bots(1), stays}


def test_a_rollback_that_a_person_began_is_left_to_them(gate: Gate) -> None:
    out(gate)
    gate.fleet.execute(
        "UPDATE flowshift.publications SET state = 'rolling_back',"
        ' options = options || \'{"rolled_back_from": "watching"}\''
    )
    assert gate.tick() == ["is rolling back"]
    assert gate.live() == set(gate.bots(1))


def test_an_error_with_one_publication_does_not_keep_the_others_from_moving(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)
    with gate.fleet.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state)"
            " VALUES (0, 'x', 'me', 'watching')"
        )
        connection.exec_driver_sql(
            "INSERT INTO flowshift.waves (publication_id, number, label, bot_count, state, watched_from)"
            " VALUES (0, 1, '1', 1, 'watching', now())"
        )

    def broken(current: Runtime, publication_id: int, wave: int) -> Reading:
        if publication_id == 0:
            raise KeyError("ours")
        return gate.look(current, publication_id, wave)

    first, second = gate.tick(look=broken)
    assert first == "the gate could not look: KeyError: 'ours'"
    assert "wave 1 passed" in second
    assert gate.read(0).looked_at is None


def test_while_the_database_is_busy_the_next_tick_does_it(gate: Gate) -> None:
    out(gate)

    def away(current: Runtime, publication_id: int, wave: int) -> Reading:
        raise TransientError("busy")

    assert gate.tick(look=away) == ["the next tick does it: busy"]
    assert "70 clean executions missing" in gate.tick()[0]


# -- beside runs -----------------------------------------------------------------------------------------


def test_the_next_wave_waits_while_another_run_has_its_bots_at_work(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)
    other = gate.fleet.planned(batch_size=50)
    [said] = gate.tick()
    assert f"wave 2 waits: run {other.run_id} (convert) has bots of it at work" in said
    assert gate.states() == ("watching", ["passed", "pending", "pending"])
    assert "wave 2 waits" in (gate.read().state_reason or "")
    gate.tick()
    gate.fleet.convert(other.run_id, 1)
    gate.tick()
    assert gate.states() == ("publishing", ["passed", "publishing", "pending"])


def test_a_run_over_other_bots_keeps_no_wave_back(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)
    gate.fleet.planned(bot_ids=tuple(gate.bots(1)))
    gate.tick()
    assert gate.states()[0] == "publishing"


def test_the_next_wave_waits_for_the_health_of_the_database(gate: Gate) -> None:
    out(gate)
    gate.execute(gate.bots(1), 80)
    [said] = gate.tick(health=Verdict("wait", "business_hours", "09:00 to 18:00"))
    assert "wave 2 waits: business_hours: 09:00 to 18:00" in said
    assert gate.states() == ("watching", ["passed", "pending", "pending"])
    gate.tick()
    assert gate.states()[0] == "publishing"
