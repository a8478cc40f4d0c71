"""A batch: once, whole, and without losing what a person wrote."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fleet import Fleet, a_broken_workflow, a_workflow, two_prompts
from worker.core.targets.convert import convert_checked, convert_text
from worker.core.workflow.config import Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.text import MAX_BYTES
from worker.core.workflow.v1 import Workflow
from worker.db import batches, bots, bulk, drafts
from worker.db.bots import Lock
from worker.errors import StaleError
from worker.steps.batch import decide


def draft_of(workflow: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = json.loads(
        convert_text(json.dumps(workflow).encode(), Defaults()).graph
    )
    return graph


def test_a_run_gives_every_bot_a_draft_a_backup_and_an_outcome(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_broken_workflow())
    fleet.add("c", None)
    fleet.add("d", a_workflow(), uses_v2=True)
    fleet.add("e", "null")

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {
        "a": "converted",
        "b": "failed invalid_config",
        "c": "skipped no_workflow",
        "d": "skipped already_v2",
        "e": "skipped no_workflow",
    }
    assert fleet.drafts() == {"a": draft_of(a_workflow())}
    assert fleet.backups() == {"a": a_workflow()}
    assert progress.state == "completed_with_failures"
    assert (progress.counts.converted, progress.counts.skipped, progress.counts.failed) == (1, 3, 1)


def test_a_batch_delivered_twice_writes_each_draft_once(fleet: Fleet) -> None:
    fleet.add_many(10)
    run = fleet.planned()
    fleet.convert(run.run_id, 1)
    before = fleet.rows("SELECT id, updated_at FROM bot_workflow_versions ORDER BY id")

    with pytest.raises(StaleError):
        fleet.convert(run.run_id, 1)

    assert fleet.rows("SELECT id, updated_at FROM bot_workflow_versions ORDER BY id") == before
    assert fleet.progress(run.run_id).counts.converted == 10


def test_a_batch_at_two_workers_at_once_acts_once(fleet: Fleet) -> None:
    ids = fleet.add_many(200)
    run = fleet.planned(batch_size=200)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: fleet.try_convert(run.run_id, 1), range(4)))

    assert [report.counts.bots for report in reports if report is not None] == [200]
    assert set(fleet.drafts()) == set(ids)
    assert fleet.progress(run.run_id).counts.converted == 200


def test_a_claimed_batch_is_done_though_somebody_else_asked_for_it_that_moment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    claim = batches.claim
    other = fleet.connect()

    def claimed_and_asked_for(connection: Any, *arguments: Any, **options: Any) -> Any:
        batch = claim(connection, *arguments, **options)
        connection.commit()
        other.execute("SELECT FROM flowshift.batches FOR UPDATE")
        return batch

    monkeypatch.setattr(batches, "claim", claimed_and_asked_for)
    with ThreadPoolExecutor(1) as pool, other:
        doing = pool.submit(fleet.convert, run.run_id, 1)
        wait_for_a_lock(fleet)
        other.rollback()
        assert doing.result().counts.converted == 3


def test_two_runs_over_one_fleet_at_once_leave_one_draft_per_bot(fleet: Fleet) -> None:
    ids = fleet.add_many(300)
    one = fleet.planned(batch_size=30)
    other = fleet.planned(batch_size=37, allow_overlap=True)
    work = [(run.run_id, n) for run in (one, other) for n in range(1, run.batch_count + 1)] * 2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: fleet.try_convert(*pair), work))

    assert set(fleet.drafts()) == set(ids)
    for run in (one, other):
        counts = fleet.progress(run.run_id).counts
        assert counts.converted + counts.unchanged == 300
        assert set(fleet.outcomes(run.run_id)) == set(ids)


def test_a_batch_that_dies_before_its_commit_has_done_nothing_and_can_be_done_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(5)
    run = fleet.planned()
    with monkeypatch.context() as patch:
        patch.setattr(batches, "complete", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fleet.convert(run.run_id, 1)
    assert fleet.drafts() == {}
    assert fleet.backups() == {}
    assert fleet.outcomes(run.run_id) == {}

    assert fleet.convert(run.run_id, 1).counts.converted == 5


def test_a_second_run_finds_everything_unchanged_and_writes_nothing(fleet: Fleet) -> None:
    fleet.add_many(20)
    fleet.run()
    before = fleet.rows("SELECT id, graph, updated_at FROM bot_workflow_versions ORDER BY id")

    progress = fleet.run()

    assert (progress.counts.unchanged, progress.counts.bots) == (20, 20)
    after = fleet.rows("SELECT id, graph, updated_at FROM bot_workflow_versions ORDER BY id")
    assert after == before


def test_a_draft_of_ours_follows_a_changed_workflow(fleet: Fleet) -> None:
    fleet.add("a", a_workflow("one {question}"))
    fleet.run()
    fleet.change("a", a_workflow("two {question}"))

    progress = fleet.run()

    assert progress.counts.converted == 1
    assert fleet.drafts() == {"a": draft_of(a_workflow("two {question}"))}


def test_the_backup_is_filled_once_and_never_overwritten(fleet: Fleet) -> None:
    fleet.add("a", a_workflow("one {question}"))
    fleet.run()
    fleet.change("a", a_workflow("two {question}"))
    fleet.run()

    assert fleet.backups() == {"a": a_workflow("one {question}")}


def test_a_backup_missing_beside_an_unchanged_draft_is_filled(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run()
    fleet.execute("UPDATE bots SET legacy_workflow = NULL")

    assert fleet.run().counts.unchanged == 1
    assert fleet.backups() == {"a": a_workflow()}


def test_a_draft_that_a_person_changed_is_kept(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run()
    edited = draft_of(a_workflow("edited {question}"))
    fleet.set_draft("a", edited)
    fleet.change("a", a_workflow("new {question}"))

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {"a": "skipped draft_edited"}
    assert fleet.drafts() == {"a": edited}
    assert progress.state == "completed"


def test_a_draft_in_which_a_person_let_two_prompts_change_places_is_kept(fleet: Fleet) -> None:
    """PostgreSQL's hash of a `jsonb` does not see it where the two are 32 values apart, or 64, or …"""
    for between in range(32):
        fleet.add(f"bot-{between:02}", two_prompts(between))
    fleet.run()
    fleet.swap_prompts()
    edited = fleet.drafts()

    run = fleet.run()

    assert set(fleet.outcomes(run.run_id).values()) == {"skipped draft_edited"}
    assert fleet.drafts() == edited


def test_a_draft_is_recognised_by_content_not_by_time(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.run()
    fleet.execute("UPDATE bot_workflow_versions SET updated_at = now() + interval '1 year'")
    fleet.change("a", a_workflow("new {question}"))

    assert fleet.run().counts.converted == 1


def test_a_draft_that_an_earlier_converter_wrote_is_replaced(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_converter_1_wrote_it(workflow: Workflow, *_: Any) -> Draft:
        draft = convert_checked(workflow)
        graph = json.loads(draft.graph)
        for edge in graph["edges"]:
            del edge["type"], edge["data"]
        return Draft(json.dumps(graph).encode(), draft.warnings)

    fleet.add("a", a_workflow())
    with monkeypatch.context() as patch:
        patch.setattr("worker.steps.batch.decide.convert_checked", as_converter_1_wrote_it)
        assert fleet.run().counts.converted == 1
    assert "data" not in fleet.drafts()["a"]["edges"][0]

    assert fleet.run().counts.converted == 1
    assert fleet.drafts()["a"] == draft_of(a_workflow())
    assert fleet.drafts()["a"]["edges"][0]["data"] == {
        "source_type": "start",
        "target_type": "knowledge-retrieval",
    }
    assert fleet.run().counts.unchanged == 1


def test_a_draft_that_nobody_but_a_person_ever_wrote_is_kept(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    theirs = draft_of(a_workflow("theirs {question}"))
    fleet.set_draft("a", theirs)

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {"a": "skipped draft_edited"}
    assert fleet.drafts() == {"a": theirs}


def test_a_draft_that_says_the_same_already_is_unchanged_whoever_wrote_it(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.set_draft("a", draft_of(a_workflow()))

    assert fleet.run().counts.unchanged == 1


@pytest.mark.parametrize("empty", [{}, {"nodes": []}, {"nodes": [], "edges": []}, {"nodes": None}])
def test_an_empty_draft_is_not_an_edit(fleet: Fleet, empty: dict[str, Any]) -> None:
    fleet.add("a", a_workflow())
    fleet.set_draft("a", empty)

    assert fleet.run().counts.converted == 1
    assert fleet.drafts() == {"a": draft_of(a_workflow())}


def test_overwrite_edited_replaces_a_changed_draft(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.set_draft("a", draft_of(a_workflow("edited")))

    assert fleet.run(overwrite_edited=True).counts.converted == 1
    assert fleet.drafts() == {"a": draft_of(a_workflow())}


def test_a_draft_made_between_our_look_and_our_insert_is_kept(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("a", a_workflow())
    theirs = draft_of(a_workflow("theirs"))
    insert = drafts.insert_drafts

    def overtaken(connection: Any, graphs: Any) -> dict[str, int]:
        fleet.set_draft("a", theirs)
        return insert(connection, graphs)

    monkeypatch.setattr(drafts, "insert_drafts", overtaken)
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {"a": "skipped draft_edited"}
    assert fleet.drafts() == {"a": theirs}


def test_a_version_called_draft_that_is_none_fails_that_bot_alone(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow())
    fleet.set_draft("a", {"nodes": []}, status="archived")

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {"a": "failed internal_error", "b": "converted"}


def test_a_dry_run_writes_nothing_and_reports_what_the_real_run_does(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_broken_workflow())
    fleet.add("c", None)
    fleet.add("edited", a_workflow())
    fleet.set_draft("edited", draft_of(a_workflow("theirs")))
    fleet.add("same", a_workflow())
    fleet.set_draft("same", draft_of(a_workflow()))
    fleet.add("empty", a_workflow())
    fleet.set_draft("empty", {"nodes": []})
    before = fleet.drafts()

    dry = fleet.run(dry_run=True)
    assert fleet.drafts() == before
    assert fleet.backups() == {}

    real = fleet.run()
    assert fleet.outcomes(dry.run_id) == fleet.outcomes(real.run_id)
    assert dry.counts == real.counts


def test_a_dry_run_waits_for_nobody_and_blocks_nobody(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned(dry_run=True)
    with fleet.connect() as platform:
        platform.execute("UPDATE bots SET name = 'x'")  # holds every row
        assert fleet.convert(run.run_id, 1).counts.converted == 3


def refuse(fleet: Fleet, bot_id: str, state: str) -> None:
    """Make the database refuse one bot's draft, as a platform's trigger may."""
    fleet.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.bot_id = '{bot_id}' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '{state}'; "
        "END IF; RETURN NEW; END $$"
    )
    fleet.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON bot_workflow_versions "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


@pytest.mark.parametrize(
    ("state", "code"), [("P0001", "internal_error"), ("22P05", "invalid_text")]
)
def test_a_bot_that_the_database_refuses_is_found_and_the_rest_committed(
    fleet: Fleet, state: str, code: str
) -> None:
    ids = fleet.add_many(23)
    refuse(fleet, ids[11], state)

    progress = fleet.run()

    assert set(fleet.drafts()) == set(ids) - {ids[11]}
    assert set(fleet.backups()) == set(ids) - {ids[11]}
    assert fleet.outcomes(progress.run_id)[ids[11]] == f"failed {code}"
    assert (progress.counts.converted, progress.counts.failed) == (22, 1)
    [row] = fleet.rows("SELECT message FROM flowshift.ledger WHERE outcome = 'failed'")
    assert "not this one" in row.message


@pytest.mark.parametrize("limit", [{"STATEMENT_ROWS": 3}, {"STATEMENT_BYTES": 8_000}])
def test_drafts_are_written_in_small_statements_and_a_refused_one_takes_no_other_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]
) -> None:
    for name, value in limit.items():
        monkeypatch.setattr(bulk, name, value)
    ids = fleet.add_many(20)
    refuse(fleet, ids[13], "23514")
    fleet.execute(_COUNT_STATEMENTS)

    progress = fleet.run()

    assert (progress.counts.converted, progress.counts.failed) == (19, 1)
    assert set(fleet.drafts()) == set(ids) - {ids[13]}
    assert max(row.drafts for row in fleet.rows("SELECT drafts FROM inserts")) in (2, 3)
    assert fleet.run().counts.unchanged == 19  # compared, and not refused again


_COUNT_STATEMENTS = """
    CREATE TABLE inserts (drafts int);
    CREATE FUNCTION count_inserts() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO inserts SELECT count(*) FROM added; RETURN NULL; END';
    CREATE TRIGGER count_inserts AFTER INSERT ON bot_workflow_versions
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_inserts()
"""


def test_a_fault_of_ours_is_recorded_on_the_bot_with_its_traceback(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("a", a_workflow())
    fleet.add("b", a_workflow("boom"))

    def faulty(workflow: Workflow, *_: Any) -> Any:
        if any(b"boom" in bytes(value) for node in workflow.nodes for value in node.data.values()):
            raise RuntimeError("a fault of ours")
        return convert_checked(workflow)

    monkeypatch.setattr(decide, "convert_checked", faulty)
    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {"a": "converted", "b": "failed internal_error"}
    [row] = fleet.rows("SELECT message, traceback FROM flowshift.ledger WHERE bot_id = 'b'")
    assert row.message == "RuntimeError: a fault of ours"
    assert "Traceback (most recent call last)" in row.traceback


def test_a_bot_that_the_platform_is_changing_is_converted_from_what_it_commits(
    fleet: Fleet,
) -> None:
    fleet.add("a", a_workflow("old {question}"))
    run = fleet.planned()
    changed = json.dumps(a_workflow("new {question}"))
    with fleet.connect() as platform:
        platform.execute("UPDATE bots SET workflow = %s::json WHERE bot_id = 'a'", [changed])
        worker = threading.Thread(target=fleet.convert, args=(run.run_id, 1))
        worker.start()
        wait_for_a_lock(fleet)
        platform.commit()
        worker.join()

    assert fleet.drafts() == {"a": draft_of(a_workflow("new {question}"))}


def wait_for_a_lock(fleet: Fleet) -> None:
    """Until somebody in this database waits for a lock."""
    query = (
        "SELECT count(*) AS n FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while fleet.rows(query)[0].n == 0:
        pass


def test_the_platform_reads_and_references_bots_while_a_batch_holds_them(fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    with fleet.engine.begin() as connection:
        assert "a" in bots.look(connection, ["a"], Lock.SKIP)
        fleet.execute("SET LOCAL lock_timeout = '1s'; SELECT workflow FROM bots")
        fleet.execute(
            "SET LOCAL lock_timeout = '1s'; INSERT INTO workflow_execution_runs"
            " (bot_id, graph_snapshot, status) VALUES ('a', '{}', 'running')"
        )


@pytest.mark.parametrize("workflow_type", ["json", "jsonb"])
@pytest.mark.parametrize("backup_type", ["json", "jsonb"])
def test_the_columns_may_be_json_or_jsonb(
    fleet: Fleet, workflow_type: str, backup_type: str
) -> None:
    fleet.execute(f"ALTER TABLE bots ALTER workflow TYPE {workflow_type} USING workflow::jsonb")
    fleet.execute(f"ALTER TABLE bots ALTER legacy_workflow TYPE {backup_type} USING NULL")
    fleet.execute(
        f"INSERT INTO bots (bot_id, name, workflow) VALUES ('a', '봇', CAST(:w AS {workflow_type}))",
        w=json.dumps(a_workflow()),
    )

    assert fleet.run().counts.converted == 1
    assert fleet.backups() == {"a": a_workflow()}
    assert fleet.drafts() == {"a": draft_of(a_workflow())}


def test_numbers_survive_to_the_last_digit(fleet: Fleet) -> None:
    text = json.dumps(a_workflow()).replace(
        '"gpt-4"', '"gpt-4", "seed": 123456789012345678901234567890, "w": 1.10'
    )
    fleet.add("a", text)
    fleet.run()

    [row] = fleet.rows("SELECT graph -> 'nodes' -> 2 -> 'data' AS data FROM bot_workflow_versions")
    [text_row] = fleet.rows(
        "SELECT (graph -> 'nodes' -> 2 -> 'data')::text AS raw FROM bot_workflow_versions"
    )
    assert row.data["seed"] == 123456789012345678901234567890
    assert '"w": 1.10' in text_row.raw


def test_text_that_jsonb_cannot_hold_fails_that_bot_alone(fleet: Fleet) -> None:
    fleet.add("a", json.dumps(a_workflow("a\x00b")))
    fleet.add("b", json.dumps(a_workflow()).replace("gpt-4", "\\ud800"))
    fleet.add("c", a_workflow())

    progress = fleet.run()

    assert fleet.outcomes(progress.run_id) == {
        "a": "failed invalid_text",
        "b": "failed invalid_text",
        "c": "converted",
    }


def test_a_workflow_over_the_limit_fails_without_being_read(fleet: Fleet) -> None:
    fleet.add("big", json.dumps(a_workflow("x" * MAX_BYTES)))
    fleet.add("small", a_workflow())
    with fleet.engine.begin() as connection:
        [chunk] = bots.read_chunks(connection, after=None, through="small", bot_ids=None)
    assert [row.workflow is None for row in chunk] == [True, False]

    progress = fleet.run()
    assert fleet.outcomes(progress.run_id) == {"big": "failed too_large", "small": "converted"}


@pytest.mark.parametrize(
    "bot_id", ["한국어-봇", "x'); DROP TABLE bots; --", "a b\tc", "🙂", "%s {0} \\", "0"]
)
def test_a_bot_may_have_any_id(fleet: Fleet, bot_id: str) -> None:
    fleet.add(bot_id, a_workflow())
    progress = fleet.run()
    assert fleet.outcomes(progress.run_id) == {bot_id: "converted"}


def test_a_batch_of_a_run_that_does_not_run_is_stale(fleet: Fleet) -> None:
    fleet.add_many(3)
    run = fleet.planned()
    fleet.execute("UPDATE flowshift.runs SET state = 'paused'")
    with pytest.raises(StaleError):
        fleet.convert(run.run_id, 1)
    with pytest.raises(StaleError):
        fleet.convert(run.run_id, 99)
    with pytest.raises(StaleError):
        fleet.convert(999, 1)


def test_a_chunk_is_bounded_by_bytes(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bots, "FETCH_ROWS", 2)
    monkeypatch.setattr(bots, "CHUNK_BYTES", 1)
    fleet.add_many(7)
    with fleet.engine.begin() as connection:
        chunks = list(bots.read_chunks(connection, after=None, through="z", bot_ids=None))
    assert [len(chunk) for chunk in chunks] == [1] * 7

    assert fleet.run().counts.converted == 7
