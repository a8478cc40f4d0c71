"""`flowshift rollback --detach`: rolling back as a run, its batches done without Celery."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.publishing import Publishing
from worker.db.publication import rolling
from worker.db.publication.rollback import Part, roll_back_bots
from worker.db.publication.rolling import Which
from worker.errors import LockedError, StaleError, UsageError
from worker.steps import transitions
from worker.steps.finish import finish_run
from worker.steps.publication import rollback as step
from worker.steps.publication.detached import Detached, detach

BOTS = [f"bot-0000{n}" for n in range(5)]


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Five bots that are live, in two waves: 2, 3."""
    fleet.add_many(5)
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan()
    fleet.execute(
        "INSERT INTO flowshift.waves (publication_id, number, label, state, bot_count)"
        " VALUES (1, 1, '2', 'publishing', 2), (1, 2, 'all', 'publishing', 3)"
    )
    fleet.execute(
        "UPDATE flowshift.publication_bots SET wave = CASE WHEN bot_id < 'bot-00002' THEN 1 ELSE 2 END"
    )
    assert set(made.publish().values()) == {"published"}
    return made


def begin(
    publishing: Publishing, which: Which | None = None, digest: str | None = None
) -> Detached:
    (found,) = detach(
        publishing.fleet.current, which or Which(), digest=digest, actor="test", reason="errors"
    )
    return found


def work(publishing: Publishing, run_id: int) -> None:
    """Do all batches of a run, each twice, and end it."""
    fleet = publishing.fleet
    number = 1
    while number <= fleet.get(run_id).batch_count:
        fleet.convert(run_id, number)
        with pytest.raises(StaleError):
            fleet.convert(run_id, number)
        number += 1
    finish_run(fleet.engine, run_id, actor="test")


def live(publishing: Publishing) -> list[str]:
    return [bot_id for bot_id in BOTS if publishing.is_live(bot_id)]


def state(publishing: Publishing) -> tuple[str | None, ...]:
    rows = publishing.fleet.rows("SELECT state, held_from FROM flowshift.publications")
    return tuple(rows[0])


def waves(publishing: Publishing) -> list[tuple[str, int]]:
    rows = publishing.fleet.rows("SELECT state, rolled_back FROM flowshift.waves ORDER BY number")
    return [tuple(row) for row in rows]


def outcomes(publishing: Publishing, run_id: int) -> dict[str, str]:
    rows = publishing.fleet.rows(
        "SELECT bot_id, concat_ws(' ', outcome, code) AS what FROM flowshift.ledger WHERE run_id = :r",
        r=run_id,
    )
    return {row.bot_id: row.what for row in rows}


def trail(publishing: Publishing, what: str) -> list[dict[str, int]]:
    """What the audit trail says of ends of rollbacks: the publication, and the run that ended it."""
    rows = publishing.fleet.rows(
        "SELECT detail FROM flowshift.audit WHERE action = :action ORDER BY id",
        action=f"publication.{what}",
    )
    return [row.detail for row in rows]


def test_the_confirmed_number_is_held_against_the_bots_while_nothing_else_can_change_their_state(
    publishing: Publishing,
) -> None:
    fleet, told = publishing.fleet, []

    def hold(bots: int) -> None:
        with fleet.engine.begin() as other:
            key = "hashtextextended('flowshift.publications 1', 0)"
            may = other.scalar(sa.text(f"SELECT pg_try_advisory_xact_lock_shared({key})"))
        told.append((bots, may))
        raise UsageError("another number was confirmed")

    fleet.execute("UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00004'")
    plan = step.look(fleet.current, Which()).preview.digest
    before = (live(publishing), state(publishing))
    for digest in (None, plan):
        with pytest.raises(UsageError, match="another number was confirmed"):
            detach(fleet.current, Which(), digest=digest, actor="test", reason=None, hold=hold)
    assert told == [(5, False), (4, False)]
    assert (live(publishing), state(publishing)) == before
    assert not fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'roll_back'")


def test_a_run_takes_all_back_and_its_end_ends_the_rollback(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.steps.publication.detached.BATCH", 2)
    begun = begin(publishing)
    assert begun.bots == 5
    assert begun.run_id is not None
    assert state(publishing) == ("rolling_back", None)
    assert publishing.fleet.get(begun.run_id).batch_count == 3
    first = publishing.fleet.rows(
        "SELECT bot_ids FROM flowshift.batches WHERE run_id = :r AND number = 1", r=begun.run_id
    )
    assert first[0].bot_ids == BOTS[3:]  # the newest wave first

    work(publishing, begun.run_id)

    assert live(publishing) == []
    assert state(publishing) == ("rolled_back", None)
    assert waves(publishing) == [("rolled_back", 2), ("rolled_back", 3)]
    assert outcomes(publishing, begun.run_id) == dict.fromkeys(BOTS, "rolled_back")
    assert publishing.fleet.get(begun.run_id).state == "completed"
    counted = "SELECT sum(rolled_back) FROM flowshift.batches WHERE run_id = :r"
    assert publishing.one(counted, r=begun.run_id) == 5
    assert trail(publishing, "rolled_back") == [{"publication": 1, "run": begun.run_id}]


def test_a_wave_is_back_and_its_publication_held(publishing: Publishing) -> None:
    begun = begin(publishing, Which(publication_id=1, wave=2))
    assert begun.run_id is not None

    work(publishing, begun.run_id)

    assert live(publishing) == BOTS[:2]
    assert state(publishing) == ("held", "publishing")
    assert waves(publishing) == [("publishing", 0), ("rolled_back", 3)]
    assert trail(publishing, "held") == [{"publication": 1, "run": begun.run_id}]


def test_a_part_is_back_while_a_bot_of_it_is_still_to_come(publishing: Publishing) -> None:
    """The end of the run knows that not all was asked for: neither publication nor wave is over."""
    publishing.fleet.execute(
        "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave) VALUES ('later', 1, 1)"
    )
    for which in (Which(bot_ids=tuple(BOTS[:2])), Which(publication_id=1, wave=2)):
        begun = begin(publishing, which)
        work(publishing, begun.run_id or 0)
        assert state(publishing) == ("held", "publishing")

    assert live(publishing) == []
    assert waves(publishing) == [("publishing", 2), ("rolled_back", 3)]


def test_a_rollback_that_was_killed_after_its_last_batch_is_ended_without_a_run(
    publishing: Publishing,
) -> None:
    with publishing.fleet.engine.begin() as connection:
        rolling.lock(connection, [1])
        assert rolling.begin(connection, 1)
        roll_back_bots(connection, Part(publication_id=1), v1_problem=publishing.problem)
    assert state(publishing)[0] == "rolling_back"

    assert begin(publishing) == Detached(1, None, 0)
    assert state(publishing)[0] == "rolled_back"
    assert publishing.fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'roll_back'") == []


def test_what_stays_has_an_outcome_that_says_why(publishing: Publishing) -> None:
    fleet = publishing.fleet
    fleet.execute("UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00000'")
    fleet.change(BOTS[1], a_workflow("new {question}"))
    fleet.execute(
        "UPDATE bot_workflow_versions SET status = 'archived'"
        " WHERE bot_id = 'bot-00002' AND status = 'published'"
    )
    fleet.add_version(BOTS[2], "v1.1", "published")
    begun = begin(publishing)
    assert begun.run_id is not None
    step.roll_back(  # another one, in the foreground, was there first
        fleet.current,
        Which(bot_ids=(BOTS[3],)),
        digest=None,
        actor="test",
        reason=None,
        show=lambda _: None,
    )

    work(publishing, begun.run_id)

    assert outcomes(publishing, begun.run_id) == {
        BOTS[0]: "skipped no_way_back",
        BOTS[1]: "rolled_back",
        BOTS[2]: "skipped newer_version",
        BOTS[3]: "unchanged",
        BOTS[4]: "rolled_back",
    }
    assert live(publishing) == [BOTS[0], BOTS[2]]
    assert state(publishing)[0] == "held"


def test_locked_bots_come_again_in_a_batch_of_their_own(publishing: Publishing) -> None:
    fleet = publishing.fleet
    begun = begin(publishing)
    assert begun.run_id is not None
    with fleet.engine.connect() as person:
        person.execute(sa.text("SELECT FROM bots WHERE bot_id = 'bot-00002' FOR UPDATE"))
        fleet.convert(begun.run_id, 1)
        with pytest.raises(LockedError, match="locked"):
            fleet.convert(begun.run_id, 2)
        assert live(publishing) == [BOTS[2]]
        finish_run(fleet.engine, begun.run_id, actor="test")
        assert state(publishing)[0] == "rolling_back"
    fleet.convert(begun.run_id, 2)
    finish_run(fleet.engine, begun.run_id, actor="test")

    assert live(publishing) == []
    assert state(publishing)[0] == "rolled_back"


def test_a_run_that_is_cancelled_leaves_the_rest_out_and_the_publication_held(
    publishing: Publishing,
) -> None:
    begun = begin(publishing)
    assert begun.run_id is not None

    transitions.cancel(publishing.fleet.engine, begun.run_id, actor="test", reason=None)

    assert live(publishing) == BOTS
    assert state(publishing) == ("held", "publishing")


def test_a_plan_holds_for_it_too(publishing: Publishing) -> None:
    digest = step.look(publishing.fleet.current, Which()).preview.digest
    publishing.fleet.execute("UPDATE bots SET workflow = NULL WHERE bot_id = 'bot-00003'")

    with pytest.raises(UsageError, match="nothing was changed"):
        begin(publishing, digest=digest)

    assert state(publishing)[0] == "publishing"
    assert publishing.fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'roll_back'") == []


def test_the_command_names_the_run(flowshift: Run, publishing: Publishing) -> None:
    code, out, err = flowshift("rollback", "--all", "--detach", "--yes", "--json")

    assert code == 0
    (run_id,) = json.loads(out)["runs"]
    assert f"flowshift watch {run_id}" in err
    assert publishing.fleet.get(run_id).options.publication == 1
    work(publishing, run_id)
    assert live(publishing) == []
    code, _, err = flowshift("retry", str(run_id))
    assert code == 2
    assert "flowshift rollback" in err
