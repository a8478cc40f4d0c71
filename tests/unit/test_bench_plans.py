"""What the bench reads in a plan, and which statements it fails."""

from __future__ import annotations

from bench.ledger import KNOWN, Statement, compared, passes, report
from bench.plans import Plan

LOOKUP = """\
Nested Loop (actual time=1.321..60.582 rows=228.00 loops=1)
  Buffers: shared hit={hit} read={read} dirtied=7
  ->  Seq Scan on runs (actual time=0.011..0.011 rows=1.00 loops=1)
        Buffers: shared hit=2
  ->  Index Scan using ledger_pkey on ledger l (actual time=0.052..0.052 rows=1.00 loops=228)
        Buffers: shared hit=1169
Planning:
  Buffers: shared hit=90000
Execution Time: 60.657 ms"""

SCAN = """\
Seq Scan on ledger (actual time=0.1..900.0 rows=1.00 loops=1)
  Buffers: shared hit=10
Planning Time: 0.3 ms"""


def a_plan(statement: str = "SELECT 1", hit: int = 100, read: int = 20) -> Plan:
    return Plan(statement, LOOKUP.format(hit=hit, read=read))


def test_pages_are_those_of_the_whole_statement_from_buffers_and_from_disk_without_planning() -> (
    None
):
    assert a_plan(hit=2538, read=12).pages == 2550
    assert Plan("SELECT 1", "Result (rows=1)\nPlanning:\n  Buffers: shared hit=9").pages == 0


def test_a_table_counts_as_scanned_where_it_is_read_whole_and_not_where_an_index_is_used() -> None:
    assert a_plan().scanned(["ledger", "batches"]) == []
    assert a_plan().scanned(["runs"]) == ["runs"]
    assert Plan("SELECT 1", SCAN).scanned(["ledger", "batches"]) == ["ledger"]


def test_a_statement_that_takes_the_same_pages_at_ten_times_the_rows_passes() -> None:
    measured = compared(1_000, [a_plan(hit=400)], [a_plan(hit=560)])

    assert passes(measured)
    assert measured.statements == [Statement("SELECT 1", 420, 580, [])]


def test_a_statement_that_takes_more_pages_because_there_are_more_rows_fails() -> None:
    measured = compared(1_000, [a_plan(hit=400)], [a_plan(hit=1_000)])

    assert not passes(measured)
    assert "| `SELECT 1` | 420 | 1,020 | grows |" in report(measured)
    assert "-- SELECT 1\nNested Loop" in report(measured)


def test_a_statement_that_reads_the_ledger_whole_fails_even_if_it_is_small() -> None:
    measured = compared(1_000, [Plan("SELECT 2", SCAN)], [Plan("SELECT 2", SCAN)])

    assert not passes(measured)
    assert "reads ledger" in report(measured)


def test_of_a_statement_that_was_executed_often_the_worst_counts() -> None:
    measured = compared(
        1_000, [a_plan(hit=100), a_plan(hit=90)], [a_plan(hit=100), a_plan(hit=9_000), a_plan()]
    )

    assert [(one.pages_tenth, one.pages_all) for one in measured.statements] == [(120, 9_020)]
    assert not passes(measured)


def test_a_statement_is_the_same_one_however_it_is_laid_out() -> None:
    measured = compared(1_000, [a_plan("SELECT\n  1", hit=10)], [a_plan("SELECT 1", hit=20)])

    assert [one.pages_tenth for one in measured.statements] == [30]


def test_a_statement_that_is_known_to_read_its_runs_batches_passes_for_that_alone() -> None:
    [start] = KNOWN
    known = f"{start} 1"
    of_batches = Plan(known, SCAN.replace("ledger", "batches"))
    measured = compared(1_000, [of_batches], [of_batches])

    assert passes(measured)
    assert "2 % of a process's time" in report(measured)
    assert not passes(compared(1_000, [of_batches], [Plan(known, SCAN)]))
