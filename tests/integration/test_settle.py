"""A converting batch beside the platform: what others lock, change and delete while it is at work."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fleet import Fleet, a_broken_workflow, a_workflow
from worker.core.parity.messages import Trials
from worker.core.parity.trial import TrialResult
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db.bots import Basis
from worker.db.ledger import LedgerRow
from worker.db.runs import RunOptions
from worker.errors import TransientError
from worker.steps.batch import chunks, convert, settle
from worker.steps.batch.decide import Decided
from worker.steps.batch.trial import Trial

Json = dict[str, Any]
NEW = a_workflow("new {question}")


def draft_of(workflow: Json) -> Json:
    graph: Json = json.loads(convert_text(json.dumps(workflow).encode(), Defaults()).graph)
    return graph


@pytest.fixture
def meanwhile(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something once, after a batch has decided on its bots and before it locks them."""

    def arrange(*deeds: Callable[[], object]) -> None:
        left = list(deeds)
        begin = settle.Settler.settle

        def settle_then(self: settle.Settler, decided: Any) -> Any:
            if left:
                left.pop(0)()
            return begin(self, decided)

        monkeypatch.setattr(settle.Settler, "settle", settle_then)

    return arrange


def all_batches(fleet: Fleet, run_id: int) -> None:
    """Do the batches of a run, those too that came of others."""
    number = 1
    while number <= fleet.get(run_id).batch_count:
        fleet.convert(run_id, number)
        number += 1


# -- between reading and locking -------------------------------------------------------------------


def test_a_workflow_that_changes_while_it_is_converted_is_converted_from_what_is_committed(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    ids = fleet.add_many(5)
    run = fleet.planned()
    meanwhile(lambda: fleet.change(ids[2], NEW))
    all_batches(fleet, run.run_id)

    assert set(fleet.outcomes(run.run_id).values()) == {"converted"}
    assert fleet.drafts() == {
        bot_id: draft_of(NEW if bot_id == ids[2] else a_workflow()) for bot_id in ids
    }
    assert fleet.backups()[ids[2]] == NEW


def test_a_whole_batch_that_changes_while_it_is_converted_is_converted_anew(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    ids = fleet.add_many(40)
    run = fleet.planned(batch_size=40)
    meanwhile(
        lambda: fleet.execute("UPDATE bots SET workflow = CAST(:w AS json)", w=json.dumps(NEW))
    )
    all_batches(fleet, run.run_id)

    assert fleet.drafts() == dict.fromkeys(ids, draft_of(NEW))
    assert fleet.outcomes(run.run_id) == dict.fromkeys(ids, "converted")
    done = fleet.batch_slices(run.run_id)
    # One is settled while nothing else is locked; then as many as may be under the lock.
    assert [row[4] for row in done] == [1 + settle.LATE_BOTS, 40 - 1 - settle.LATE_BOTS]


def test_what_a_slow_bot_changes_to_is_not_decided_while_others_are_locked(
    fleet: Fleet, meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(3)
    run = fleet.planned()
    monkeypatch.setattr(settle, "QUICK_S", 0.0)
    meanwhile(lambda: fleet.change(ids[1], NEW))

    assert fleet.convert(run.run_id, 1).counts.converted == 2
    assert [row[3] for row in fleet.batch_slices(run.run_id)] == [[ids[0], ids[2]], [ids[1]]]
    assert fleet.convert(run.run_id, 2).counts.converted == 1
    assert fleet.drafts()[ids[1]] == draft_of(NEW)


def test_a_bot_that_is_flagged_while_it_is_converted_gets_no_draft(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    meanwhile(
        lambda: fleet.execute("UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-00001'")
    )
    all_batches(fleet, run.run_id)

    assert fleet.outcomes(run.run_id)["bot-00001"] == "skipped flagged_without_version"
    assert set(fleet.drafts()) == {"bot-00000", "bot-00002"}
    assert set(fleet.backups()) == {"bot-00000", "bot-00002"}


def test_a_bot_that_is_mended_while_its_batch_is_converted_is_converted(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_broken_workflow())
    fleet.add("c", None)
    run = fleet.planned()

    def mend() -> None:
        fleet.change("b", NEW)
        fleet.change("c", NEW)

    meanwhile(mend)
    all_batches(fleet, run.run_id)

    assert fleet.outcomes(run.run_id) == dict.fromkeys("abc", "converted")


def test_a_bot_that_is_deleted_while_it_is_converted_has_no_outcome(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    meanwhile(lambda: fleet.execute("DELETE FROM bots WHERE bot_id = 'bot-00001'"))
    all_batches(fleet, run.run_id)

    assert set(fleet.outcomes(run.run_id)) == {"bot-00000", "bot-00002"}
    assert fleet.get(run.run_id).batch_count == 1


def test_a_batch_whose_bots_are_all_deleted_ends(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    meanwhile(lambda: fleet.execute("DELETE FROM bots"))

    assert fleet.convert(run.run_id, 1).counts.bots == 0


def test_a_draft_that_appears_is_edited_or_goes_while_its_bot_is_converted_decides(
    fleet: Fleet, meanwhile: Callable[..., None]
) -> None:
    fleet.add_many(4)
    fleet.run()
    fleet.execute("UPDATE bots SET workflow = CAST(:w AS json)", w=json.dumps(NEW))
    theirs = draft_of(a_workflow("theirs"))
    fleet.execute("DELETE FROM workflow_execution_runs")
    fleet.execute("DELETE FROM bot_workflow_versions WHERE bot_id = 'bot-00000'")
    run = fleet.planned()

    def platform() -> None:
        fleet.set_draft("bot-00000", theirs)
        fleet.set_draft("bot-00001", theirs)
        fleet.execute("DELETE FROM bot_workflow_versions WHERE bot_id = 'bot-00002'")

    meanwhile(platform)
    all_batches(fleet, run.run_id)

    assert fleet.outcomes(run.run_id) == {
        "bot-00000": "skipped draft_edited",
        "bot-00001": "skipped draft_edited",
        "bot-00002": "converted",
        "bot-00003": "converted",
    }
    assert fleet.drafts()["bot-00001"] == theirs
    assert fleet.drafts()["bot-00002"] == draft_of(NEW)


# -- beside rows that others hold ------------------------------------------------------------------


def test_nothing_is_locked_while_drafts_are_executed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(3)
    run = fleet.planned()
    try_draft = Trial.try_draft
    saved = []

    def slowly(trial: Trial, bot_id: str, *arguments: Any) -> TrialResult:
        result = try_draft(trial, bot_id, *arguments)
        with fleet.connect() as platform:
            platform.execute("SET lock_timeout = '100ms'")
            platform.execute("UPDATE bots SET name = 'x' WHERE bot_id = ANY(%s)", [ids])
            saved.append(bot_id)
        return result

    monkeypatch.setattr(Trial, "try_draft", slowly)
    assert fleet.convert(run.run_id, 1).counts.converted == 3
    assert saved == ids


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bots SET name = 'x' WHERE bot_id = 'bot-00002'",
        "DELETE FROM bots WHERE bot_id = 'bot-00002'",
        "SELECT FROM bot_workflow_versions WHERE bot_id = 'bot-00002' FOR UPDATE",
        "UPDATE bot_workflow_versions SET graph = '{}' WHERE bot_id = 'bot-00002'",
        (
            "INSERT INTO bot_workflow_versions (bot_id, version, status, graph) "
            "VALUES ('bot-00003', 'draft', 'draft', '{}')"
        ),
    ],
)
def test_the_others_commit_at_once_while_somebody_has_a_row_of_one_bot_locked(
    fleet: Fleet, statement: str
) -> None:
    ids = fleet.add_many(20)
    fleet.set_draft("bot-00002", {"nodes": []})
    busy = "bot-00003" if "INSERT" in statement else "bot-00002"
    run = fleet.planned()
    with fleet.connect() as platform:
        platform.execute(statement)
        assert fleet.convert(run.run_id, 1).counts.converted == 19
        assert set(fleet.outcomes(run.run_id)) == set(ids) - {busy}
        platform.rollback()
    assert fleet.progress(run.run_id).batches_total == 2
    assert fleet.convert(run.run_id, 2).counts.converted == 1
    assert set(fleet.drafts()) == set(ids)
    assert [row[4] for row in fleet.batch_slices(run.run_id)] == [19, 1]


def test_a_batch_that_has_nothing_else_waits_for_a_locked_bot_and_then_gives_up(
    fleet: Fleet,
) -> None:
    fleet.add("a", a_workflow())
    run = fleet.planned()
    fleet.engine.dispose()
    with fleet.connect() as platform:
        platform.execute("UPDATE bots SET name = 'x'")
        fleet.execute(f"ALTER DATABASE {fleet.engine.url.database} SET lock_timeout = '5s'")
        started = time.monotonic()
        with pytest.raises(TransientError, match="55P03"):
            fleet.convert(run.run_id, 1)
        assert time.monotonic() - started > 1
        assert fleet.batch_slices(run.run_id)[0][5] == "running"
    assert fleet.convert(run.run_id, 1).counts.converted == 1


def test_a_batch_of_locked_bots_waits_for_one_of_them_and_locks_no_other_meanwhile(
    fleet: Fleet,
) -> None:
    ids = fleet.add_many(3)
    run = fleet.planned()
    with fleet.connect() as first, fleet.connect() as second, fleet.connect() as third:
        first.execute("UPDATE bots SET name = 'x' WHERE bot_id = %s", [ids[0]])
        second.execute("UPDATE bots SET name = 'x' WHERE bot_id = ANY(%s)", [ids[1:]])
        worker = threading.Thread(target=fleet.convert, args=(run.run_id, 1))
        worker.start()
        wait_for_a_lock(fleet)
        second.commit()
        third.execute("SET lock_timeout = '100ms'")
        third.execute("UPDATE bots SET name = 'y' WHERE bot_id = ANY(%s)", [ids[1:]])
        third.rollback()
        first.commit()
        worker.join()

    assert fleet.outcomes(run.run_id) == dict.fromkeys(ids, "converted")


def wait_for_a_lock(fleet: Fleet) -> None:
    """Until somebody in this database waits for a lock."""
    query = (
        "SELECT count(*) AS n FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while fleet.rows(query)[0].n == 0:
        pass


def test_what_cannot_be_written_in_time_is_left_to_another_batch(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(10)
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 6)
    monkeypatch.setattr(settle, "HELD_S", 0.0)
    for listed in (False, True):
        run = fleet.planned(allow_overlap=True, **({"bot_ids": tuple(ids)} if listed else {}))
        all_batches(fleet, run.run_id)

        assert set(fleet.outcomes(run.run_id)) == set(ids)
        parts = fleet.batch_slices(run.run_id)
        assert [(row[4], row[5]) for row in parts] == [
            (3, "done"),
            (3, "done"),
            (3, "done"),
            (1, "done"),
        ]
        progress = fleet.progress(run.run_id)
        assert (progress.bots_total, progress.counts.bots) == (10, 10)


def test_what_takes_too_much_memory_to_keep_is_left_to_another_batch(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fleet.add_many(7)
    monkeypatch.setattr(convert, "KEPT_BYTES", 2 * len(json.dumps(draft_of(a_workflow()))))
    run = fleet.planned(validate="none")
    all_batches(fleet, run.run_id)

    assert set(fleet.outcomes(run.run_id)) == set(ids)
    assert len(fleet.batch_slices(run.run_id)) > 2


def test_a_later_run_over_the_same_batches_takes_every_bot_once_where_some_were_left(
    fleet: Fleet,
) -> None:
    ids = fleet.add_many(6)
    run = fleet.planned()
    with fleet.connect() as platform:
        platform.execute("UPDATE bots SET name = 'x' WHERE bot_id = %s", [ids[3]])
        fleet.convert(run.run_id, 1)
    fleet.convert(run.run_id, 2)
    fleet.execute("UPDATE flowshift.runs SET state = 'completed', finished_at = now()")
    validated = fleet.run(kind="validate", of_run=run.run_id)

    assert set(fleet.outcomes(validated.run_id)) == set(ids)


def test_a_table_that_is_locked_whole_gives_the_batch_back(fleet: Fleet) -> None:
    fleet.add_many(30)
    run = fleet.planned()
    with fleet.connect() as platform:
        platform.execute("LOCK TABLE bot_workflow_versions IN SHARE MODE")  # somebody indexes it
        started = time.monotonic()
        with pytest.raises(TransientError, match="55P03"):
            fleet.convert(run.run_id, 1)
        assert time.monotonic() - started < 4
    assert fleet.convert(run.run_id, 1).counts.converted == 30


# -- what is written at a time ---------------------------------------------------------------------


def test_the_more_messages_the_fewer_bots_are_written_at_a_time() -> None:
    decided = [
        Decided(
            Basis(uses_v2=False, is_published=False, workflow_hash=1),
            LedgerRow(str(n), "converted"),
            0.0,
        )
        for n in range(1_000)
    ]
    sizes = [
        [len(chunk) for chunk in chunks.chunks(decided, RunOptions(trials=trials))]
        for trials in (None, Trials(("a", "b", "c", "d"), 4))
    ]
    assert sizes == [[500, 500], [100] * 10]
