"""Publications as runs, on real PostgreSQL: planned in waves, published by batches, moved on by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from migrations import upgrade as schema
from tests.fleet import Fleet
from tests.integration.conftest import Run as Command
from tests.publishing import Publishing
from worker.core.policy.batch_ref import BatchRef
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db import ledger, outbox
from worker.db.publication import waves
from worker.db.publication.waves import Options, Publication, Wave
from worker.errors import StaleError, UsageError
from worker.steps.batch import publish as batch_step
from worker.steps.batch.kinds import KINDS
from worker.steps.finish import finish_run
from worker.steps.publication import control
from worker.steps.publication.begin import Going
from worker.steps.publication.plan import Wanted

BOTS = [f"bot-{n:05d}" for n in range(6)]


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Six bots with proven drafts."""
    fleet.add_many(6)
    fleet.run(validate="sample:1")
    return Publishing(fleet)


def wanted(text: str, *, target: str) -> Wanted:
    return Wanted(
        run_id=1,
        steps=parse_waves(text),
        wishes=Wishes(first=(BOTS[0],), never=(BOTS[5],)),
        options=Options(target=target),
    )


def start(publishing: Publishing, text: str = "1, 2, all", *, target: str = "guide") -> Going:
    what = wanted(text, target=target)
    return control.publish(publishing.fleet.current, what, request_id="r", actor="me")


def go(publishing: Publishing) -> Going:
    return control.go(publishing.fleet.current, 1, actor="me", reason="enough")


def accept(publishing: Publishing) -> Going:
    watched = next((one.number for one in read(publishing)[1] if one.state == "watching"), None)
    return control.accept(publishing.fleet.current, 1, watched, actor="me", reason="enough")


def work(publishing: Publishing, run_id: int | None) -> None:
    """Do every batch of a run."""
    assert run_id is not None
    fleet = publishing.fleet
    while fleet.try_convert(run_id, next_batch(fleet, run_id)) is not None:
        pass
    finish_run(fleet.engine, run_id, actor="test")


def next_batch(fleet: Fleet, run_id: int) -> int:
    rows = fleet.rows(
        "SELECT COALESCE(min(number), 1) FROM flowshift.batches WHERE run_id = :id AND state = 'pending'",
        id=run_id,
    )
    return int(rows[0][0])


def read(publishing: Publishing) -> tuple[Publication, list[Wave]]:
    with publishing.fleet.engine.connect() as connection:
        found = waves.get(connection, 1)
        assert found is not None
        return found, waves.of(connection, 1)


def live(publishing: Publishing) -> list[str]:
    return [bot_id for bot_id in BOTS if publishing.is_live(bot_id)]


def states(publishing: Publishing) -> tuple[str, list[str]]:
    found, its = read(publishing)
    return found.state, [wave.state for wave in its]


# -- wave by wave ----------------------------------------------------------------------------------


def test_a_publication_goes_wave_by_wave_to_its_end(publishing: Publishing) -> None:
    going = start(publishing)
    assert live(publishing) == []
    assert states(publishing) == ("publishing", ["publishing", "pending", "pending"])
    work(publishing, going.run_id)
    assert live(publishing) == [BOTS[0]]
    assert states(publishing) == ("watching", ["watching", "pending", "pending"])
    assert publishing.fleet.progress(going.run_id or 0).state == "completed"

    for count, after in ((3, ["accepted", "watching", "pending"]), (5, ["accepted"] * 2)):
        work(publishing, accept(publishing).run_id)
        assert len(live(publishing)) == count
        assert states(publishing)[1][: len(after)] == after
    assert accept(publishing).run_id is None

    assert states(publishing) == ("completed", ["accepted"] * 3)
    assert live(publishing) == BOTS[:5]
    assert {publishing.state(bot_id) for bot_id in BOTS[:5]} == {"confirmed"}
    assert publishing.versions(BOTS[0]) == [("draft", "draft"), ("v1.0", "published")]
    _, its = read(publishing)
    assert [(wave.published, wave.pending, wave.accepted_by) for wave in its] == [
        (1, 0, "me"),
        (2, 0, "me"),
        (2, 0, "me"),
    ]
    trail = [
        row.action
        for row in publishing.fleet.rows("SELECT action FROM flowshift.audit ORDER BY id")
    ]
    assert [action for action in trail if action.startswith("publication.")] == [
        "publication.created",
        *["publication.publishing", "publication.accepted"] * 3,
        "publication.completed",
    ]


def test_a_request_that_is_repeated_makes_one_publication(publishing: Publishing) -> None:
    first, again = start(publishing), start(publishing)
    assert (again.publication_id, again.run_id) == (first.publication_id, first.run_id)
    assert len(publishing.fleet.rows("SELECT FROM flowshift.runs WHERE kind = 'publish'")) == 1


def test_a_batch_that_is_delivered_twice_publishes_once(publishing: Publishing) -> None:
    run_id = start(publishing, "all").run_id or 0
    assert publishing.fleet.try_convert(run_id, 1) is not None
    assert publishing.fleet.try_convert(run_id, 1) is None
    assert publishing.versions(BOTS[0]) == [("draft", "draft"), ("v1.0", "published")]
    assert read(publishing)[1][0].published == 5
    assert publishing.fleet.outcomes(run_id) == dict.fromkeys(BOTS[:5], "published")


def test_a_worker_that_is_killed_in_mid_batch_leaves_every_bot_as_it_was(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(publishing, "all").run_id or 0
    fleet = publishing.fleet

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "insert_ledger", killed)
        with pytest.raises(SystemExit):
            fleet.convert(run_id, 1)
    assert live(publishing) == []
    assert publishing.versions(BOTS[0]) == [("draft", "draft")]
    assert fleet.rows("SELECT FROM flowshift.ledger WHERE run_id = :id", id=run_id) == []
    assert read(publishing)[1][0].published == 0

    assert fleet.convert(run_id, 1).counts.published == 5  # the same process claims it again
    assert live(publishing) == BOTS[:5]
    assert publishing.versions(BOTS[0]) == [("draft", "draft"), ("v1.0", "published")]


def test_a_wave_whose_worker_died_after_the_last_commit_is_settled_by_accept(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(publishing).run_id or 0
    with monkeypatch.context() as patch:
        patch.setattr(batch_step, "settle", lambda *_: None)
        publishing.fleet.convert(run_id, 1)
    assert states(publishing)[0] == "publishing"

    going = control.accept(publishing.fleet.current, 1, 1, actor="me", reason="enough")
    assert going.run_id is not None
    assert states(publishing)[1] == ["accepted", "publishing", "pending"]


# -- beside people ---------------------------------------------------------------------------------


def test_what_a_person_edits_is_skipped_and_what_they_have_locked_comes_again(
    publishing: Publishing,
) -> None:
    run_id = start(publishing, "all").run_id or 0
    fleet = publishing.fleet
    fleet.set_draft(BOTS[1], {"nodes": [{"id": "mine", "type": "start"}], "edges": []})
    with fleet.engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT FROM bots WHERE bot_id = '{BOTS[2]}' FOR UPDATE")
        assert fleet.convert(run_id, 1).counts.bots == 4
        assert states(publishing)[0] == "publishing"

    assert fleet.convert(run_id, 2).counts.published == 1
    assert live(publishing) == [BOTS[0], *BOTS[2:5]]
    assert publishing.state(BOTS[1]) == "skipped draft_edited"
    assert states(publishing)[0] == "watching"
    one = read(publishing)[1][0]
    assert (one.published, one.skipped, one.pending) == (4, 1, 0)


def test_a_draft_for_another_target_than_the_platforms_is_refused(publishing: Publishing) -> None:
    work(publishing, start(publishing, "all", target="answer").run_id)
    assert live(publishing) == []
    assert publishing.state(BOTS[0]) == "skipped stale_target"


# -- hold, stop, roll back ---------------------------------------------------------------------------


def test_held_nothing_more_is_published_until_it_goes_on(publishing: Publishing) -> None:
    going = start(publishing, "all")
    fleet, run_id = publishing.fleet, going.run_id or 0
    claimed = fleet.claim(run_id)
    assert claimed is not None
    assert control.hold(fleet.current, 1, actor="me", reason="look")
    assert not control.hold(fleet.current, 1, actor="me", reason="look")

    with pytest.raises(StaleError, match="is not publishing"):
        KINDS["publish"].run(claimed, fleet.current)
    assert live(publishing) == []
    assert fleet.get(run_id).state == "paused"
    [given_back] = fleet.rows(
        "SELECT state, losses, faults FROM flowshift.batches WHERE run_id = 2"
    )
    assert tuple(given_back) == ("pending", 0, 0)

    assert go(publishing).run_id == run_id
    work(publishing, run_id)
    assert live(publishing) == BOTS[:5]
    assert states(publishing) == ("watching", ["watching"])


def test_a_run_that_is_resumed_while_its_publication_is_held_publishes_nothing(
    publishing: Publishing,
) -> None:
    run_id = start(publishing, "all").run_id or 0
    fleet = publishing.fleet
    control.hold(fleet.current, 1, actor="me", reason=None)
    fleet.execute("UPDATE flowshift.runs SET state = 'running' WHERE run_id = :id", id=run_id)

    with pytest.raises(StaleError):
        fleet.convert(run_id, 1)
    assert live(publishing) == []
    assert fleet.get(run_id).state == "paused"


def test_stopped_what_is_out_stays_out_and_nothing_goes_on(publishing: Publishing) -> None:
    work(publishing, start(publishing).run_id)
    run_id = accept(publishing).run_id or 0
    fleet = publishing.fleet
    assert control.stop(fleet.current, 1, actor="me", reason=None)
    assert not control.stop(fleet.current, 1, actor="me", reason=None)

    assert fleet.try_convert(run_id, 1) is None
    assert fleet.get(run_id).state == "cancelled"
    assert live(publishing) == [BOTS[0]]
    for move in (control.go, control.hold):
        with pytest.raises(UsageError, match="is stopped"):
            move(fleet.current, 1, actor="me", reason=None)


def test_a_rollback_in_mid_publication_ends_it(flowshift: Command, publishing: Publishing) -> None:
    work(publishing, start(publishing).run_id)
    run_id = accept(publishing).run_id or 0

    assert flowshift("rollback", "--publication", "1", "--yes")[0] == 0

    assert publishing.fleet.try_convert(run_id, 1) is None
    assert publishing.fleet.get(run_id).state == "cancelled"
    assert states(publishing)[0] == "rolled_back"
    assert live(publishing) == []


def test_after_one_wave_was_rolled_back_the_rest_goes_on(
    flowshift: Command, publishing: Publishing
) -> None:
    work(publishing, start(publishing).run_id)
    work(publishing, accept(publishing).run_id)
    assert flowshift("rollback", "--publication", "1", "--wave", "2", "--yes")[0] == 0
    assert states(publishing) == ("held", ["accepted", "rolled_back", "pending"])

    work(publishing, go(publishing).run_id)
    assert states(publishing) == ("watching", ["accepted", "rolled_back", "watching"])
    assert len(live(publishing)) == 3


def test_bots_that_a_failed_batch_left_are_published_by_the_next_go(
    publishing: Publishing,
) -> None:
    run_id = start(publishing, "all").run_id or 0
    fleet = publishing.fleet
    fleet.execute(
        "UPDATE flowshift.batches SET state = 'failed', finished_at = now() WHERE run_id = :id",
        id=run_id,
    )
    finish_run(fleet.engine, run_id, actor="test")

    again = go(publishing)
    assert again.run_id != run_id
    work(publishing, again.run_id)
    assert live(publishing) == BOTS[:5]


def test_the_message_of_a_batch_names_its_kind(publishing: Publishing) -> None:
    run_id = start(publishing, "all").run_id or 0
    with publishing.fleet.engine.begin() as connection:
        [one] = outbox.take(connection, run_id, 9)
    assert (one.kind, one.ref) == ("publish", BatchRef(run_id, 1))


def test_a_publications_run_is_not_retried(publishing: Publishing) -> None:
    run_id = start(publishing, "all").run_id or 0
    work(publishing, run_id)
    with pytest.raises(UsageError, match="flowshift retry --publication 1"):
        publishing.fleet.start(retry_of=run_id)
    with pytest.raises(UsageError, match="flowshift publish"):
        publishing.fleet.start(kind="publish")


# -- the commands ------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_waves_and_what_keeps_bots_out(
    flowshift: Command, publishing: Publishing
) -> None:
    publishing.fleet.execute("DELETE FROM flowshift.proofs WHERE bot_id = 'bot-00003'")

    code, out, _ = flowshift("publish", "1", "--dry-run", "--json", "--waves", "1, all")

    assert code == 0
    assert json.loads(out)["codes"] == {"ready": 5, "not_proven": 1}
    assert [wave["size"] for wave in json.loads(out)["waves"]] == [1, 5]
    assert publishing.fleet.rows("SELECT FROM flowshift.publications") == []
    _, out, _ = flowshift("publish", "1", "--dry-run")
    assert "1 bot would be skipped: not_proven" in out


def test_the_bots_in_a_file_are_published_and_no_others(
    flowshift: Command, publishing: Publishing, tmp_path: Path
) -> None:
    part = tmp_path / "part.txt"
    part.write_text(f"{BOTS[1]}\n{BOTS[3]}\n")

    code, _, err = flowshift("publish", "1", "--bots-from", str(part), "--yes")
    assert (code, "name what to publish" in err) == (2, True)
    code, _, _ = flowshift(
        "publish",
        "--bots-from",
        str(part),
        "--waves",
        "all",
        "--without-backup",
        "--yes",
        "--detach",
    )
    assert code == 0
    work(publishing, 2)

    assert live(publishing) == [BOTS[1], BOTS[3]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["publish"], "name what to publish"),
        (["publish", "9", "--yes"], "there is no run 9"),
        (["publish", "1", "--waves", "all, 1"], "waves"),
        (["publish", "--bot-id", "tpyo"], "no such bot: 'tpyo'"),
        (["publish", "1"], "say --yes"),
        (["go", "7"], "there is no publication 7"),
        (["hold", "7"], "there is no publication 7"),
        (["stop", "7"], "there is no publication 7"),
        (["publication", "7"], "there is no publication 7"),
    ],
)
def test_what_cannot_be_done_is_refused(
    flowshift: Command, publishing: Publishing, arguments: list[str], said: str
) -> None:
    code, _, err = flowshift(*arguments)
    assert code == 2
    assert said in err
    assert publishing.fleet.rows("SELECT FROM flowshift.publications") == []


def test_a_publication_is_begun_followed_held_and_shown(
    flowshift: Command, publishing: Publishing
) -> None:
    assert "no publications yet" in flowshift("publications")[1]
    code, out, _ = flowshift(
        "publish", "1", "--waves", "1, all", "--without-backup", "--yes", "--detach"
    )
    assert code == 0
    assert "publication 1 publishes wave 1: 1 bot" in out
    work(publishing, 2)
    assert "to accept wave 1 now: flowshift accept 1 1 --reason" in flowshift("publication", "1")[1]
    assert "watching" in flowshift("publications")[1]
    assert flowshift("hold", "1", "--reason", "why")[1] == "publication 1 is held\n"
    assert "held (person)" in " ".join(flowshift("publications")[1].split())
    assert json.loads(flowshift("publication", "1", "--json")[1])["state_reason"] == "why"
    assert "is watching wave 1 again" in flowshift("go", "1", "--detach")[1]
    for reason in ((), ("--reason", "enough")):
        code, _, err = flowshift("go", "1", "--detach", *reason)
        assert (code, "accept 1 1 --reason TEXT` accepts it now" in err) == (2, True), err
    assert states(publishing) == ("watching", ["watching", "pending"])
    accepting = ("accept", "1", "1", "--reason", "enough", "--detach")
    code, out, _ = flowshift(*accepting)
    assert (
        "accepted wave 1, which was watched: 1 bot. Publication 1 publishes wave 2: 5 bots" in out
    )
    code, _, err = flowshift(*accepting)
    assert (code, "is publishing: no wave of it can be accepted now" in err) == (2, True)
    assert flowshift("stop", "1")[1] == "publication 1 is stopped\n"
    assert json.loads(flowshift("publications", "--json")[1])[0]["state"] == "stopped"


def test_what_was_published_and_what_was_not_is_counted_shown_and_explained(
    flowshift: Command, publishing: Publishing
) -> None:
    publishing.fleet.execute("DELETE FROM flowshift.proofs WHERE bot_id = 'bot-00003'")
    run_id = start(publishing, "all").run_id or 0
    work(publishing, run_id)

    counts = publishing.fleet.progress(run_id).counts
    assert (counts.published, counts.converted, counts.skipped, counts.bots) == (4, 0, 1, 5)
    shown = flowshift("status", str(run_id))[1]
    assert re.search(r"published +4", shown)
    assert "converted" not in shown
    assert "skipped" in shown
    [one] = [run for run in json.loads(flowshift("runs", "--json")[1]) if run["run_id"] == run_id]
    assert (one["published"], one["converted"], one["bots_done"]) == (4, 0, 5)

    code, out, _ = flowshift("failures", str(run_id))
    assert code == 1
    assert "not_proven  1 bot" in out
    assert "bot-00003  run 2: no execution of a draft of this bot agreed with V1" in out
    assert "next: Validate the draft, then publish again" in out
    assert "1 bot failed or was skipped in run 2" in out
    code, out, _ = flowshift("failures", str(run_id), "--code", "not_proven", "--json")
    assert [found["bot_id"] for found in json.loads(out)["failures"]] == ["bot-00003"]
    assert flowshift("failures", str(run_id), "--code", "busy")[0] == 0
    assert flowshift("failures", "--fleet")[0] == 0, "V1 answers: nothing is broken"


def test_a_skipped_bot_of_another_kind_of_run_is_no_failure(
    flowshift: Command, publishing: Publishing
) -> None:
    publishing.fleet.add("nothing", None)
    publishing.fleet.run()
    assert publishing.fleet.outcomes(2)["nothing"] == "skipped no_workflow"
    assert flowshift("failures", "2")[0] == 0


def test_what_was_counted_as_converted_before_is_published_now_and_back(
    publishing: Publishing,
) -> None:
    run_id = start(publishing, "all").run_id or 0
    work(publishing, run_id)
    fleet, before = publishing.fleet, publishing.fleet.progress(run_id).counts
    schema.downgrade(fleet.engine, "0016")
    columns = "converted, skipped"
    [row] = fleet.rows(f"SELECT {columns} FROM flowshift.batches WHERE run_id = 2")
    assert tuple(row) == (5, 0)
    assert set(fleet.outcomes(1).values()) == {"converted"}
    assert set(fleet.outcomes(run_id).values()) == {"converted"}
    schema.upgrade(fleet.engine)
    assert publishing.fleet.progress(run_id).counts == before
    assert set(fleet.outcomes(1).values()) == {"converted"}
    assert set(fleet.outcomes(run_id).values()) == {"published"}


def test_a_downgrade_forgets_the_runs_and_leaves_the_bots(publishing: Publishing) -> None:
    work(publishing, start(publishing, "all").run_id)
    engine = publishing.fleet.engine
    schema.downgrade(engine, "0012")
    assert live(publishing) == BOTS[:5]
    assert [row.kind for row in publishing.fleet.rows("SELECT kind FROM flowshift.runs")] == [
        "convert"
    ]
    schema.upgrade(engine)
    assert start(publishing, "all").said == "is there already"
