"""Executions and nodes have ids that rise from batch to batch, the same when a batch is done again."""

from __future__ import annotations

import pytest

from tests.fleet import Fleet
from worker.core.parity.recording import run_and_message
from worker.db.row_ids import Source
from worker.steps.batch.kinds import KINDS


def test_ids_of_a_later_batch_are_all_behind_those_of_the_one_before(fleet: Fleet) -> None:
    fleet.add_many(60)
    first, second = (fleet.run(validate="all").run_id for _ in range(2))

    for table, execution in (
        ("workflow_execution_runs", "id"),
        ("workflow_node_executions", "workflow_run_id"),
    ):
        rows = fleet.rows(
            f"SELECT l.run_id, l.batch, min(x.id::text) AS low, max(x.id::text) AS high FROM {table} x"
            f" JOIN workflow_execution_runs r ON r.id = x.{execution}"
            " JOIN flowshift.ledger l ON r.bot_id = l.bot_id"
            " AND r.session_id LIKE 'flowshift:run-' || l.run_id || ':%' GROUP BY 1, 2 ORDER BY 1, 2"
        )

        assert [(row.run_id, row.batch) for row in rows] == [
            (run_id, batch) for run_id in (first, second) for batch in (1, 2)
        ]
        ends = [end for row in rows for end in (row.low, row.high)]
        assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("table", "column", "count"),
    [("workflow_execution_runs", "bot_id", 40), ("workflow_node_executions", "id", 160)],
)
def test_executions_are_inserted_in_the_order_of_bots_and_nodes_in_that_of_their_ids(
    fleet: Fleet, table: str, column: str, count: int
) -> None:
    """A dry run inserts executions in the same order as the run, though their ids differ."""
    fleet.add_many(40)
    fleet.execute(
        "CREATE TABLE seen (place serial, key text);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN INSERT INTO seen (key) VALUES (NEW.{column}); RETURN NEW; END';"
        f"CREATE TRIGGER see BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION see()"
    )

    fleet.run(validate="sample:1")

    keys = [row.key for row in fleet.rows("SELECT key FROM seen ORDER BY place")]
    assert len(keys) == count
    assert keys == sorted(keys)


def test_a_batch_that_is_done_again_gives_its_executions_the_same_ids(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its commit, it leaves nothing; its next worker writes what it would have written."""
    fleet.add_many(5)
    run = fleet.planned(validate="all")
    claimed = fleet.claim(run.run_id)
    assert claimed is not None
    with monkeypatch.context() as broken:
        broken.setattr("worker.steps.batch.convert._leave", _die)
        with pytest.raises(KeyboardInterrupt):
            KINDS["convert"].run(claimed, fleet.current)
    assert fleet.rows("SELECT id FROM workflow_execution_runs") == []

    again = fleet.claim(run.run_id)
    assert again is not None
    assert again.attempt == 2
    KINDS["convert"].run(again, fleet.current)

    source = Source(run.request_id, run.run_id, 1)
    rows = fleet.rows("SELECT id, bot_id, session_id FROM workflow_execution_runs")
    numbered = {row.id: (row.bot_id, run_and_message(row.session_id)) for row in rows}
    assert len(numbered) >= 5
    for row_id, (bot_id, validates) in numbered.items():
        assert validates is not None
        assert validates[0] == run.run_id
        assert row_id == source.row_id(bot_id, validates[1])


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_is_recorded_is_the_draft_and_no_other_version_of_the_bot(fleet: Fleet) -> None:
    (bot,) = fleet.add_many(1)
    fleet.execute(
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph)"
        f" VALUES (gen_random_uuid(), '{bot}', 'v0.9', 'archived', '{{}}')"
    )

    fleet.run(validate="sample:1")

    recorded = fleet.rows(
        "SELECT v.version, r.graph_snapshot = v.graph AS same FROM workflow_execution_runs r"
        " JOIN bot_workflow_versions v ON v.id = r.workflow_version_id"
    )
    assert [tuple(row) for row in recorded] == [("draft", True)]
