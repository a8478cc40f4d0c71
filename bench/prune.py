"""Measure a prune against one bare DELETE of the same rows, and what the platform feels meanwhile.

A database is filled once, half of its execution runs older than the cut-off; each measurement has
a fresh copy of it. The bare DELETE is measured before and after the prune, and the ratio is to the
mean, so that a machine that slows down or speeds up meanwhile does not decide the result. Meanwhile
a client reads as a platform does: a bot's latest executions, and the nodes of one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa

from bench.__main__ import _admin, _drop_database
from bench.main import Bench, Place, main
from migrations import upgrade
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db.engine import create_engine, database_url
from worker.errors import BotError
from worker.sample import sample_bots
from worker.steps.prune.prune import Keep, Result, prune

RUNS: Final = 1_000_000
NODES_EACH: Final = 4
BOTS: Final = 1_000
LOADED_AT_A_TIME: Final = 50_000
READS_A_SECOND: Final = 100
GRAPH_BYTES: Final = 4_700
"""What a draft of the sample fleet has on average."""


class Reads(msgspec.Struct, frozen=True):
    """How long the platform's reads took."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says."""

    runs: int
    runs_pruned: int
    nodes_pruned: int
    bare_s: tuple[float, float]
    prune_s: float
    ratio: float
    batches: int
    longest_transaction_ms: float
    reads_alone: Reads
    reads_during_bare: Reads
    reads_during_prune: Reads


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=RUNS, help="execution runs, half of them old")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.database("prune") as full:
        return measure_with(place.servers.database_url, full, given.runs)


def measure_with(url: str, full: str, runs: int) -> Measured:
    """Fill a database, then measure on copies of it, which are dropped."""
    _fill(full, runs)
    with _copy(url, full) as copy:
        reads_alone = _while_reading(copy, lambda: time.sleep(5))[1]
        before, reads_during_bare = _while_reading(copy, lambda: _bare(copy))
    with _copy(url, full) as copy:
        result, reads_during_prune = _while_reading(copy, lambda: _prune(copy))
    with _copy(url, full) as copy:
        after, _ = _while_reading(copy, lambda: _bare(copy))
    return Measured(
        runs=runs,
        runs_pruned=result.gone["runs"],
        nodes_pruned=result.gone["nodes"],
        bare_s=(round(before, 2), round(after, 2)),
        prune_s=result.duration_s,
        ratio=round(result.duration_s / ((before + after) / 2), 2),
        batches=result.batches,
        longest_transaction_ms=result.longest_ms,
        reads_alone=reads_alone,
        reads_during_bare=reads_during_bare,
        reads_during_prune=reads_during_prune,
    )


def report(measured: Measured) -> str:
    """The result as people read it."""
    lines = [
        f"{measured.runs_pruned:,} of {measured.runs:,} execution runs, with their nodes",
        f"  bare DELETE   {measured.bare_s[0]:>8.1f} s before, {measured.bare_s[1]:.1f} s after",
        f"  prune         {measured.prune_s:>8.1f} s, {measured.batches} batches",
        f"  ratio         {measured.ratio:>8.2f}",
        f"  longest transaction {measured.longest_transaction_ms:.0f} ms",
        "  reads of the platform, ms   p50     p99     max",
    ]
    for name, reads in (
        ("alone", measured.reads_alone),
        ("during the bare DELETE", measured.reads_during_bare),
        ("during the prune", measured.reads_during_prune),
    ):
        lines.append(
            f"    {name:<24}{reads.p50_ms:>7.2f} {reads.p99_ms:>7.2f} {reads.max_ms:>7.1f}"
        )
    return "\n".join(lines)


# -- the database ----------------------------------------------------------------------------------


def _fill(url: str, runs: int) -> None:
    engine = create_engine(
        database_url(url),
        lock_timeout_ms=5_000,
        statement_timeout_ms=600_000,
        application_name="flowshift bench",
    )
    upgrade.upgrade(engine)
    engine.dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO bots (bot_id, name) SELECT 'bot-' || n, 'Bot' "
            "FROM generate_series(1, %s) AS n",
            (BOTS,),
        )
        connection.execute("CREATE TABLE graph AS SELECT %s::text::jsonb AS graph", (_graph(),))
        for first in range(0, runs, LOADED_AT_A_TIME):
            connection.execute(
                _LOAD,
                {
                    "first": first + 1,
                    "last": min(runs, first + LOADED_AT_A_TIME),
                    "runs": runs,
                    "bots": BOTS,
                    "nodes": NODES_EACH,
                },
            )
        connection.execute("DROP TABLE graph")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _graph() -> str:
    """The draft of the sample fleet that has about the size of the average."""
    graphs = []
    for bot in sample_bots(200, 0):
        try:
            graphs.append(convert_text(bot.workflow or b"", Defaults()).graph.decode())
        except BotError:
            continue
    return min(graphs, key=lambda graph: abs(len(graph) - GRAPH_BYTES))


# Evenly over 60 days, and in the order in which a platform writes them.
_LOAD = """
    WITH run AS (
        INSERT INTO workflow_execution_runs (
            id, bot_id, session_id, graph_snapshot, inputs, outputs, status, started_at,
            finished_at, elapsed_time, total_tokens, total_steps, created_at
        )
        SELECT gen_random_uuid(), 'bot-' || (1 + n %% %(bots)s), 'session-' || n, graph.graph,
               '{"query": "환불은 언제 되나요?"}',
               '{"answer": "환불은 신청한 날부터 영업일로 3일에서 5일 안에 처리됩니다."}', 'succeeded',
               t.at, t.at + interval '1 second', 1000, 120, %(nodes)s, t.at
        FROM graph, generate_series(%(first)s::bigint, %(last)s::bigint) AS n
        CROSS JOIN LATERAL (
            SELECT now() - interval '60 days' + (n - 0.5) * (interval '60 days' / %(runs)s) AS at
        ) AS t
        RETURNING id, created_at
    )
    INSERT INTO workflow_node_executions (
        workflow_run_id, node_id, node_type, execution_order, inputs, outputs, process_data,
        status, started_at, finished_at, elapsed_time, created_at
    )
    SELECT run.id, 'node-' || k, 'llm', k, '{"query": "환불은 언제 되나요?"}',
           jsonb_build_object('text', repeat('환불은 영업일로 3일에서 5일 안에 ', 6)), '{}', 'succeeded',
           run.created_at, run.created_at + interval '250 ms', 250,
           run.created_at + k * interval '1 ms'
    FROM run, generate_series(1, %(nodes)s) AS k
"""


@contextmanager
def _copy(url: str, full: str) -> Iterator[str]:
    name = f"{sa.make_url(full).database}_copy"
    with _admin(url) as connection:
        version = int(connection.info.parameter_status("server_version").split(".")[0])  # type: ignore[union-attr]
        how = " STRATEGY file_copy" if version >= 15 else ""
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {sa.make_url(full).database}{how}".encode()
        )
        connection.execute("CHECKPOINT")
    copy = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    try:
        yield copy
    finally:
        _drop_database(url, copy)


# -- what is measured ------------------------------------------------------------------------------


def _bare(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        connection.execute(
            "DELETE FROM workflow_execution_runs WHERE created_at < now() - interval '30 days'"
        )
        return time.perf_counter() - began


def _prune(url: str) -> Result:
    engine = create_engine(
        database_url(url),
        lock_timeout_ms=5_000,
        statement_timeout_ms=60_000,
        application_name="flowshift bench",
    )
    try:
        return prune(engine, Keep(), actor="bench")
    finally:
        engine.dispose()


def _while_reading(url: str, do: Callable[[], Any]) -> tuple[Any, Reads]:
    """What `do` returns, and how long a platform's reads took while it went on."""
    ended = threading.Event()
    took: list[float] = []
    reader = threading.Thread(target=_read, args=(url, ended, took))
    reader.start()
    try:
        result = do()
    finally:
        ended.set()
        reader.join()
    ms = sorted(seconds * 1000 for seconds in took)
    return result, Reads(
        count=len(ms),
        p50_ms=round(statistics.median(ms), 2),
        p99_ms=round(ms[int(len(ms) * 0.99)], 2),
        max_ms=round(ms[-1], 1),
    )


def _read(url: str, ended: threading.Event, took: list[float]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        number = 0
        while True:
            began = time.perf_counter()
            found = connection.execute(_LATEST, (f"bot-{1 + number % BOTS}",)).fetchall()
            if found:
                connection.execute(_NODES, (found[0][0],)).fetchall()
            took.append(time.perf_counter() - began)
            number += 1
            if ended.wait(1 / READS_A_SECOND):
                return


_LATEST = """
    SELECT id, status, elapsed_time, total_tokens, created_at FROM workflow_execution_runs
    WHERE created_at > now() - interval '1 hour' AND bot_id = %s ORDER BY created_at DESC LIMIT 20
"""
_NODES = """
    SELECT node_id, node_type, status, inputs, outputs FROM workflow_node_executions
    WHERE workflow_run_id = %s ORDER BY execution_order
"""

BENCH: Final = Bench(name="prune", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
