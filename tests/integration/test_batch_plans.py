"""What a batch and a sweep ask of a large table takes a few pages: of their run's batches, of drafts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from bench.ledger import KNOWN
from bench.plans import Plan, explained
from tests.fleet import Fleet
from tests.live import eventually
from worker.core.policy.batch_ref import BatchRef
from worker.db import admission
from worker.steps.rescue import runs_to_close, sweep

DONE, WAITING = 20_000, 20_000
IN_QUEUE = 8
FEW_PAGES = 100
"""Each batch of the run is a row of 150 bytes, 40,000 of them some 800 pages."""


def add_batches(fleet: Fleet, run_id: int, done: int = DONE, *, is_analyzed: bool = True) -> None:
    """Let a run have many batches that are done, some in the queue and at work, and many that wait.

    Where it is not analyzed, the statistics are of the table as it was before.
    """
    with fleet.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
        vacuum.exec_driver_sql("VACUUM ANALYZE flowshift.batches")
        vacuum.exec_driver_sql("ALTER TABLE flowshift.batches SET (autovacuum_enabled = off)")
    fleet.execute(_BATCHES, run_id=run_id, done=done, all=done + WAITING)
    if not is_analyzed:
        return
    with fleet.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
        vacuum.exec_driver_sql("VACUUM ANALYZE flowshift.batches")
        vacuum.exec_driver_sql("ANALYZE flowshift.runs")


_BATCHES = """
    INSERT INTO flowshift.batches (run_id, number, through_bot_id, bot_count, state, attempt, enqueued_at,
                                   started_at, finished_at, lease_until, worker)
    SELECT :run_id, n, 'z', 500,
           CASE WHEN n <= :done THEN 'done' WHEN n <= :done + 8 THEN 'running' ELSE 'pending' END,
           (n <= :done + 8)::int,
           CASE WHEN n <= :done + 16 THEN now() - (:all - n) * interval '100 ms' END,
           CASE WHEN n <= :done + 8 THEN now() END,
           CASE WHEN n <= :done THEN now() - (:all - n) * interval '90 ms' END,
           CASE WHEN n BETWEEN :done + 1 AND :done + 8 THEN now() + interval '1 minute' END, 'one'
    FROM generate_series(2, CAST(:all AS int)) AS n
"""


def costly(plans: Sequence[Plan]) -> list[str]:
    """The statements about batches that take more than a few pages, or read the table whole."""
    asked = [plan for plan in plans if "flowshift.batches" in plan.statement]
    assert asked
    return [
        str(plan)
        for plan in asked
        if plan.pages > FEW_PAGES or re.search(r"Seq Scan on batches\b", plan.text)
    ]


def test_a_sweep_reads_no_batches_but_those_in_flight_and_the_last_that_ended(fleet: Fleet) -> None:
    fleet.add_many(2)
    add_batches(fleet, fleet.planned().run_id)

    with explained(fleet.engine) as plans:
        found = sweep(fleet.engine, empty=[], actor="test", lease_s=60, heartbeat_s=10)
        runs_to_close(fleet.engine)

    assert found is not None
    assert found.to_enqueue
    assert costly(plans) == []


@pytest.mark.parametrize("limits", [{}, {"concurrency": 30}])
def test_of_a_run_that_was_just_planned_not_all_batches_are_read_either(
    fleet: Fleet, limits: dict[str, int]
) -> None:
    fleet.add_many(2)
    run_id = fleet.planned(**limits).run_id
    add_batches(fleet, run_id, done=1, is_analyzed=False)

    with explained(fleet.engine) as plans:
        assert len(fleet.take(run_id, IN_QUEUE + 4)) >= 4
        report = fleet.convert(run_id, 1, target_ms=1_000)
        sweep(fleet.engine, empty=[], actor="test", lease_s=60, heartbeat_s=10)
        runs_to_close(fleet.engine)

    assert report.counts.converted == 2
    assert costly(plans) == []


@pytest.mark.parametrize("limits", [{}, {"concurrency": 30}])
def test_what_enqueues_and_claims_reads_the_batches_in_flight_alone(
    fleet: Fleet, limits: dict[str, int]
) -> None:
    fleet.add_many(2)
    run_id = fleet.planned(**limits).run_id
    add_batches(fleet, run_id)

    with explained(fleet.engine) as plans:
        taken = fleet.take(run_id, IN_QUEUE + 4)
        with fleet.engine.begin() as connection:
            ref = BatchRef(run_id, taken[0])
            claimed = admission.claim(connection, ref, worker="two", lease_s=60, target_ms=0)

    assert claimed is not None
    assert costly(plans) == []


def test_the_statement_that_reads_all_batches_of_its_run_is_the_one_that_the_bench_knows(
    fleet: Fleet,
) -> None:
    fleet.add_many(2)
    run_id = fleet.planned().run_id
    add_batches(fleet, run_id)

    with explained(fleet.engine) as plans:
        fleet.progress(run_id)

    [start] = KNOWN
    assert [plan.name.startswith(start) for plan in plans if plan.pages > FEW_PAGES] == [True]


def test_recording_executions_looks_up_the_drafts_of_its_bots_alone(fleet: Fleet) -> None:
    """Of 1,000 others: joined as one table, they are read along, up to all, for a batch of 230."""
    ids = fleet.add_many(230)
    fleet.add_many(1_000, prefix="other-")
    fleet.execute(
        "INSERT INTO bot_workflow_versions (bot_id, version, status, graph) "
        "SELECT bot_id, 'draft', 'draft', '{}' FROM bots WHERE bot_id LIKE 'other-%'"
    )
    fleet.execute("ANALYZE bot_workflow_versions")
    run = fleet.planned(bot_ids=tuple(ids), batch_size=500, validate="sample:1")

    with explained(fleet.engine) as plans:
        assert fleet.convert(run.run_id, 1).counts.converted == len(ids)

    [plan] = [one for one in plans if "INSERT INTO workflow_execution_runs" in one.statement]
    lookups = r" on bot_workflow_versions .*loops=230\)\n *Index Cond: \(\(bot_id\)::text = "
    assert re.search(lookups, plan.text), plan


WRITTEN = ("workflow_execution_runs", "workflow_node_executions")


def test_executions_are_not_read_whole_where_they_were_analyzed_while_there_were_none(
    fleet: Fleet,
) -> None:
    """Foreign keys are checked by plans that a session keeps until a table is analyzed again."""
    fleet.add_many(30)
    with fleet.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
        vacuum.exec_driver_sql("VACUUM ANALYZE")
    run = fleet.planned(batch_size=10, validate="sample:1")
    before = reads_of_whole_tables(fleet)

    for number in (1, 2, 3):
        assert fleet.convert(run.run_id, number).counts.converted == 10

    assert reads_of_whole_tables(fleet) == before


def reads_of_whole_tables(fleet: Fleet) -> dict[str, int]:
    """How often each table of executions was read whole, by sessions that have ended."""
    fleet.engine.dispose()
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
    eventually(lambda: fleet.rows(asked)[0][0] == 0)
    counted = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY(:names)"
    return {row.relname: row.seq_scan for row in fleet.rows(counted, names=list(WRITTEN))}
