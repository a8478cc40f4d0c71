"""Hold every statement of a batch to this: it does not slow down as the ledger grows.

A database gets the history of many runs: ledger, batches and executions, made by `generate_series`. At
a tenth of the rows, and then at all of them, a worker's steps are done with every statement explained:
start and plan a run, claim a batch, convert and record it, end it, fill the queue, report, sweep; for
bots without a draft and for drafts that stay. The bots of both batches, and what each went through
before, are alike. A statement fails that reads one of these tables whole, or takes more than
`MOST_GROWTH` times the pages that it took at a tenth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import psycopg
import sqlalchemy as sa

from bench.floor import load_fleet
from bench.main import Bench, Place, main
from bench.measured import table
from bench.million import FullError, free_bytes
from bench.plans import Plan, explained
from migrations import upgrade
from tasks import start_run
from worker import runtime
from worker.app import app
from worker.core.policy.batch_ref import BatchRef
from worker.progress.reporter import Reporter
from worker.queue.dispatch import CeleryQueue
from worker.runtime import Runtime
from worker.steps.batch import delivery
from worker.steps.batch.process import Process
from worker.steps.request import Request
from worker.steps.sweep import sweep_once

ROWS: Final = 5_000_000
BOTS: Final = 2_000
BATCH: Final = 250
RUNS: Final = 10
"""Runs that each bot went through before."""

ROWS_A_BOT: Final = 50
"""Rows of the ledger for each bot that exists: the others were deleted since."""

BOTS_AN_EXECUTION: Final = 10
"""One execution, of two nodes, for so many rows of the ledger."""

LOADED_AT_A_TIME: Final = 500_000
BYTES_A_ROW: Final = 500
"""Most disk for a row of the ledger, with what comes along."""

FIXED_BYTES: Final = 3 * 10**9
"""Most disk for WAL and a new database."""

MOST_GROWTH: Final = 2.0
"""Tenfold tables have one more level in their indexes: a lookup takes 4 pages where it took 3."""

SLACK_PAGES: Final = 50

GROWING: Final = (
    "ledger",
    "batches",
    "bots",
    "bot_workflow_versions",
    "workflow_execution_runs",
    "workflow_node_executions",
)


KNOWN: Final = {
    "SELECT flowshift.runs.run_id, flowshift.runs.request_id, flowshift.runs.kind,": (
        "of its run's batches; for 2 % of a process's time at most"
    ),
}
"""Statements that read every batch of the run at work, by their beginnings, and why they may.

They grow with that run and not with the ledger, and no batch executes them.
"""


class Statement(msgspec.Struct, frozen=True):
    """A statement: the most pages that it took at a tenth and at all rows; what it reads whole."""

    name: str
    pages_tenth: int
    pages_all: int
    scanned: Sequence[str]

    @property
    def grows(self) -> bool:
        """Whether it takes more pages because there are more rows."""
        return self.pages_all > MOST_GROWTH * self.pages_tenth + SLACK_PAGES

    @property
    def excuse(self) -> str | None:
        """Why it may read its run's batches, and nothing else."""
        if set(self.scanned) - {"batches"}:
            return None
        return next((why for start, why in KNOWN.items() if self.name.startswith(start)), None)

    @property
    def fails(self) -> bool:
        """Whether it slows down, and there is no reason why it may."""
        return self.excuse is None and (self.grows or bool(self.scanned))

    @property
    def remark(self) -> str:
        """What is to be said of it, in a word; nothing of most."""
        if not (self.grows or self.scanned):
            return ""
        return self.excuse or ("reads " + ", ".join(self.scanned) if self.scanned else "grows")


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says."""

    rows: int
    statements: Sequence[Statement]
    plans: Sequence[str]
    """Of statements that fail, at all rows."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=ROWS, help="of the ledger")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    most_bytes = FIXED_BYTES + given.rows * BYTES_A_ROW
    directory = Path(tempfile.gettempdir())
    sys.stderr.write(f"takes at most {most_bytes / 10**9:.1f} GB in {directory}, and drops them\n")
    if free_bytes(directory) < most_bytes:
        raise FullError(f"only {free_bytes(directory) / 10**9:.1f} GB are free")
    with place.settings("ledger") as settings:
        current = runtime.configure(settings)
        upgrade.upgrade(current.engine)
        load_fleet(current.engine, BOTS)
        _add_bots(settings.database_url, given.rows // ROWS_A_BOT)
        taken = []
        for number, (first, last) in enumerate(
            [(0, given.rows // 10), (given.rows // 10, given.rows)], 1
        ):
            _fill(settings.database_url, first, last)
            taken.append(_plans(current, number, batches_done=last // 500))
    return compared(given.rows, *taken)


def compared(rows: int, tenth: Sequence[Plan], whole: Sequence[Plan]) -> Measured:
    """The statements of both, by name."""
    before, after = _most_pages(tenth), _most_pages(whole)
    statements = [
        Statement(name, before.get(name, plan).pages, plan.pages, _scanned(name, whole))
        for name, plan in after.items()
    ]
    failing = {one.name for one in statements if one.fails}
    return Measured(rows, statements, [str(after[name]) for name in after if name in failing])


def _most_pages(plans: Sequence[Plan]) -> dict[str, Plan]:
    """By statement, the execution of it that took the most pages."""
    most: dict[str, Plan] = {}
    for plan in plans:
        if plan.name not in most or most[plan.name].pages < plan.pages:
            most[plan.name] = plan
    return most


def _scanned(name: str, plans: Sequence[Plan]) -> list[str]:
    return sorted({one for plan in plans if plan.name == name for one in plan.scanned(GROWING)})


def passes(measured: Measured) -> bool:
    """Whether no statement slows down."""
    return not measured.plans


def report(measured: Measured) -> str:
    """The result as Markdown, the statements that take most first, then the plans of those that fail."""
    shown = sorted(measured.statements, key=lambda one: -one.pages_all)
    rows = [
        [
            f"`{one.name[:70].replace('|', '∣')}`",
            f"{one.pages_tenth:,}",
            f"{one.pages_all:,}",
            one.remark,
        ]
        for one in shown
        if one.pages_all > SLACK_PAGES or one.scanned
    ]
    heads = [f"{len(shown)} statements", "pages at a tenth", f"at {measured.rows:,} rows", ""]
    said = "\n".join(table(heads, rows))
    return "\n\n".join([said, *measured.plans])


# -- a worker's steps ------------------------------------------------------------------------------


def _plans(current: Runtime, number: int, *, batches_done: int) -> list[Plan]:
    """The plans of every statement of two runs, which do the batch of this number only."""
    queue = CeleryQueue(app)
    process = Process(current, queue, Reporter(current, app, "bench"), hostname="bench")
    found: list[Plan] = []
    for _ in ("bots without a draft", "drafts that stay"):
        with explained(current.engine, with_cursors=True) as plans:
            request = Request(validate="sample:1", batch_size=BATCH, allow_overlap=True)
            run_id = start_run(request, requested_by="bench").run_id
            delivery.plan(run_id, process)
        found += plans
        with current.engine.begin() as connection:
            connection.execute(sa.text(_DONE), {"run_id": run_id, "done": batches_done})
        with current.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
            vacuum.execute(sa.text("VACUUM ANALYZE flowshift.batches"))
        with explained(current.engine, with_cursors=True) as plans:
            delivery.do_batches(BatchRef(run_id, number), process)
            process.reporter.report_run(run_id)
            sweep_once(current, queue, actor="bench")
        found += plans
        with current.engine.begin() as connection:
            _assert_done(connection, run_id, number)
            connection.execute(sa.text(_CANCEL))
    return found


def _assert_done(connection: sa.Connection, run_id: int, number: int) -> None:
    query = "SELECT state FROM flowshift.batches WHERE run_id = :run_id AND number = :number"
    state = connection.scalar(sa.text(query), {"run_id": run_id, "number": number})
    if state != "done":
        raise RuntimeError(f"batch {number} of run {run_id} is {state}: nothing was measured")


_DONE: Final = """
    INSERT INTO flowshift.batches (run_id, number, after_bot_id, through_bot_id, bot_count, state,
                                   attempt, started_at, finished_at, converted, duration_ms)
    SELECT :run_id, 1000000 + n, 'a', 'b', 500, 'done', 1, now() - interval '2 hours',
           now() - interval '1 hour' + n * interval '1 ms', 500, 200
    FROM generate_series(1, :done) AS n
"""

_CANCEL: Final = """
    UPDATE flowshift.runs SET state = 'cancelled', finished_at = now() WHERE finished_at IS NULL
"""


# -- the history -----------------------------------------------------------------------------------

_HISTORY: Final = (
    f"""
    INSERT INTO flowshift.ledger (run_id, batch, bot_id, outcome, draft_hash)
    SELECT 1000000 + n %% {RUNS}, 1 + n / {RUNS * 500}, 'sample-' || lpad((n / {RUNS})::text, 8, '0'),
           'converted', n
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    """,
    f"""
    INSERT INTO workflow_execution_runs (id, bot_id, session_id, graph_snapshot, inputs, status, created_at)
    SELECT md5(n::text)::uuid, 'sample-' || lpad((n %% {BOTS})::text, 8, '0'), 'flowshift-1-1', '{{}}',
           '{{"query": "환불은 언제 되나요?"}}', 'succeeded', now() - n * interval '100 ms'
    FROM generate_series(%(first)s::bigint, %(last)s::bigint, {BOTS_AN_EXECUTION}) AS n
    """,
    f"""
    INSERT INTO workflow_node_executions (id, workflow_run_id, node_id, node_type, execution_order, status)
    SELECT md5(n::text || '-' || k)::uuid, md5(n::text)::uuid, 'llm-' || k, 'llm', k, 'succeeded'
    FROM generate_series(%(first)s::bigint, %(last)s::bigint, {BOTS_AN_EXECUTION}) AS n,
         generate_series(1, 2) AS k
    """,
)

_BATCHES: Final = f"""
    INSERT INTO flowshift.batches (run_id, number, after_bot_id, through_bot_id, bot_count, state,
                                   attempt, finished_at, converted, duration_ms)
    SELECT 1000000 + r, n, 'a', 'b', 500, 'done', 1, now() - interval '1 day', 500, 200
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
         generate_series(0, {RUNS - 1}) AS r
"""

_RUNS: Final = f"""
    INSERT INTO flowshift.runs (run_id, request_id, state, options, dry_run, requested_by,
                                converter_version, finished_at)
    OVERRIDING SYSTEM VALUE
    SELECT 1000000 + r, 'bench ' || r, 'completed', '{{}}', false, 'bench', '0', now() - interval '1 day'
    FROM generate_series(0, {RUNS - 1}) AS r ON CONFLICT DO NOTHING
"""


_FLEET: Final = (
    """
    INSERT INTO bots (bot_id, name, workflow)
    SELECT 'silent-' || lpad(n::text, 8, '0'), 'Bot', json_build_object('nodes', repeat('x', 1300))
    FROM generate_series(1, %(bots)s::bigint) AS n
    """,
    """
    INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph)
    SELECT md5(n::text)::uuid, 'silent-' || lpad(n::text, 8, '0'), 'draft', 'draft',
           jsonb_build_object('nodes', repeat('x', 1500))
    FROM generate_series(1, %(bots)s::bigint) AS n
    """,
)


def _add_bots(url: str, bots: int) -> None:
    """Add bots behind the sample fleet, with drafts: their batches are planned and not done."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _FLEET:
            connection.execute(statement.encode(), {"bots": bots})


def _fill(url: str, first: int, last: int) -> None:
    """Add the history numbered from `first` to `last`; afterwards tables are as autovacuum leaves them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # keys need no check here
        connection.execute("SET synchronous_commit = off")
        connection.execute(_RUNS.encode())
        batches = {"first": first // (RUNS * 500) + 1, "last": last // (RUNS * 500)}
        connection.execute(_BATCHES.encode(), batches)
        for begin in range(first, last, LOADED_AT_A_TIME):
            end = min(last, begin + LOADED_AT_A_TIME) - 1
            for statement in _HISTORY:
                connection.execute(statement.encode(), {"first": begin, "last": end})
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


BENCH: Final = Bench(
    name="ledger", doc=__doc__, options=options, measure=measure, report=report, passes=passes
)

if __name__ == "__main__":
    sys.exit(main(BENCH))
