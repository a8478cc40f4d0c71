"""Large waves begin only after a verified backup, whoever begins them, unless a person says without."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.fleet import Fleet
from tests.gate import Gate
from tests.integration.conftest import Run
from tests.integration.test_finish import back_up
from tests.publishing import Publishing
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.waves import Options
from worker.errors import UsageError
from worker.steps.publication import control
from worker.steps.publication.begin import Going
from worker.steps.publication.plan import Wanted

ASKS = "needs a backup of the database"


@pytest.fixture
def gate(fleet: Fleet) -> Gate:
    """Six bots with proven drafts."""
    fleet.add_many(6)
    fleet.run(validate="sample:1")
    return Gate(Publishing(fleet))


def start(gate: Gate, text: str, *, needs_backup: bool = True) -> Going:
    wanted = Wanted(
        run_id=1,
        steps=parse_waves(text),
        wishes=Wishes(),
        options=Options(target="guide", needs_backup=needs_backup),
    )
    return control.publish(gate.fleet.current, wanted, request_id="r", actor="me")


def waiting(gate: Gate) -> Gate:
    """The second wave, of five bots, waits after the first one passed."""
    start(gate, "1, all")
    gate.work()
    gate.execute(gate.bots(1), 80)
    [said] = gate.tick()
    assert f"wave 2 waits: it takes 5 of 6 bots; this {ASKS}" in said
    assert gate.states() == ("watching", ["passed", "pending"])
    return gate


def test_a_wave_of_one_bot_asks_for_none_and_a_large_one_begins_by_itself_once_there_is_one(
    gate: Gate,
) -> None:
    waiting(gate)
    assert ASKS in gate.tick()[0]
    assert ASKS in (gate.read().state_reason or "")

    back_up(gate.fleet, hours_ago=25)
    assert ASKS in gate.tick()[0]
    back_up(gate.fleet)
    assert "publishes wave 2: 5 bots" in gate.tick()[0]
    assert gate.states()[1] == ["passed", "publishing"]


def test_a_person_can_go_on_without_and_that_is_on_record(gate: Gate) -> None:
    waiting(gate)
    options = gate.read().options
    current = gate.fleet.current
    assert ASKS in control.go(current, 1, actor="me", reason=None).said

    going = control.go(current, 1, actor="me", reason="tested", without_backup=True)
    assert going.said == "publishes wave 2: 5 bots"
    trail = gate.fleet.rows(
        "SELECT actor, reason FROM flowshift.audit WHERE action = 'publication.without_backup'"
    )
    assert [tuple(row) for row in trail] == [("me", "publication 1: tested")]
    assert options.needs_backup
    assert gate.read().options == msgspec.structs.replace(options, needs_backup=False)


def test_a_large_first_wave_is_refused_and_nothing_is_planned(gate: Gate) -> None:
    with pytest.raises(UsageError, match=f"nothing was planned or published.*{ASKS}"):
        start(gate, "all")
    assert gate.fleet.rows("SELECT * FROM flowshift.publications") == []

    back_up(gate.fleet)
    assert start(gate, "all").said == "publishes wave 1: 6 bots"


def test_the_command_asks_unless_it_is_told_not_to(flowshift: Run, gate: Gate) -> None:
    code, _, err = flowshift("publish", "1", "--waves", "all", "--yes", "--detach")
    assert code == 2
    assert "it takes 6 of 6 bots" in err
    assert "or go on without one: `publish` with --without-backup" in err

    assert flowshift("publish", "1", "--waves", "1, all", "--yes", "--detach")[0] == 0
    gate.work()
    number = str(json.loads(flowshift("publications", "--json")[1])[0]["publication_id"])
    code, out, _ = flowshift("accept", number, "1", "--reason", "seen", "--detach")
    assert f"wave 2 waits: it takes 5 of 6 bots; this {ASKS}" in out
    code, out, _ = flowshift("publication", number)
    said = " ".join(out.split())
    assert f"wave 2 waits: it takes 5 of 6 bots; this {ASKS}" in said
    assert f"or go on without one: `flowshift go {number} --without-backup`" in said

    code, out, _ = flowshift("go", number, "--without-backup", "--detach")
    assert "publishes wave 2: 5 bots" in out
    shown = json.loads(flowshift("publication", number, "--json")[1])
    assert shown["options"]["needs_backup"] is False


def test_a_plan_says_which_waves_ask_and_one_that_cannot_begin_asks_for_no_number(
    flowshift: Run, gate: Gate
) -> None:
    plan = ("publish", "1", "--dry-run", "--waves", "1, all")
    code, out, _ = flowshift(*plan)
    assert code == 0
    assert "wave 1 (1): 1 bot\nwave 2 (all): 5 bots; asks for a verified backup\n" in out
    assert f"wave 2 would wait for now: this {ASKS}" in out
    said = json.loads(flowshift(*plan, "--json")[1])
    assert [wave["asks_for_backup"] for wave in said["waves"]] == [False, True]
    assert ASKS in said["lacks_backup"]
    assert "backup" not in flowshift(*plan, "--without-backup")[1]

    code, _, err = flowshift("publish", "1", "--waves", "all")
    assert code == 2
    assert "nothing was planned or published, since wave 1 is large: it takes 6 of 6 bots" in err
    assert "Type the number" not in err
    assert "There is no terminal" not in err

    back_up(gate.fleet)
    out = flowshift(*plan)[1]
    assert "asks for a verified backup" in out
    assert "would wait" not in out


def test_while_a_wave_is_watched_the_wish_for_no_backup_is_noted(gate: Gate) -> None:
    start(gate, "1, all")
    gate.work()

    going = control.go(gate.fleet.current, 1, actor="me", reason=None, without_backup=True)

    assert "without a verified backup from now on. Wave 1 is watched" in going.said
    assert gate.states() == ("watching", ["watching", "pending"])
    assert gate.audit()[-1] == "without_backup"
    going = control.accept(gate.fleet.current, 1, 1, actor="me", reason="seen")
    assert "publishes wave 2: 5 bots" in going.said
