"""Measure a look of the gate against a bare count of the same rows, in a platform's table of executions.

A database is filled once: executions of 30 days, evenly, of 10,000 bots, 1,000 of which are a wave
that is out for six hours. The first look finds what is normal and settles these hours; then looks and
bare counts alternate. `--plans` prints the plans of the first look's statements on the platform's table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy import event

from bench.main import Bench, Place, main
from migrations import upgrade
from worker.db.engine import create_engine, database_url
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings
from worker.steps.publication.look import look

EXECUTIONS: Final = 5_000_000
BOTS: Final = 10_000
WAVE: Final = 1_000
CONTROL: Final = 110
LOADED_AT_A_TIME: Final = 250_000
TABLE: Final = "workflow_execution_runs"


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says; times in milliseconds. `rows` are those of one look."""

    executions: int
    table_mb: int
    first_look_ms: float
    looks_ms: list[float]
    bare_ms: list[float]
    rows: int
    ratio: float
    statements_ms: dict[str, float]
    plans: list[str] = []


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--looks", type=int, default=9)
    parser.add_argument("--plans", action="store_true", help="print plans, too")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.database("look") as full:
        _fill(full, given.executions)
        redis_url = place.servers.redis_url
        settings = Settings(database_url=full, redis_url=redis_url, data_dir=place.data_dir)
        current = Runtime(settings, Servers(full, redis_url))
        try:
            measured = measure_with(current, given.executions, given.looks)
            plans = _plans(current) if given.plans else []
        finally:
            current.close()
    return msgspec.structs.replace(measured, plans=plans)


def measure_with(current: Runtime, executions: int, looks: int) -> Measured:
    """The first look, then looks and bare counts in turn."""
    with _recorded(current.engine) as first:
        began = time.perf_counter()
        look(current, 1, 2)
        first_ms = _ms(began)
    looks_ms, bare_ms, rows = [], [], 0
    for _ in range(looks):
        rows, bare = _bare(current.engine)
        bare_ms.append(bare)
        began = time.perf_counter()
        look(current, 1, 2)
        looks_ms.append(_ms(began))
    with current.engine.connect() as connection:
        size = connection.scalar(sa.text(f"SELECT pg_table_size('{TABLE}') / 1048576"))
    return Measured(
        executions=executions,
        table_mb=int(size or 0),
        first_look_ms=first_ms,
        looks_ms=looks_ms,
        bare_ms=bare_ms,
        rows=rows,
        ratio=round(statistics.median(looks_ms) / statistics.median(bare_ms), 2),
        statements_ms=_statements(first),
    )


def report(measured: Measured) -> str:
    """The result as people read it."""
    lines = [
        f"{measured.executions:,} executions, {measured.table_mb:,} MB",
        f"  first look      {measured.first_look_ms:>9,.0f} ms: what is normal, and six hours settled",
        *(f"    {name:<14}{ms:>9,.0f} ms" for name, ms in measured.statements_ms.items()),
        f"  a look          {statistics.median(measured.looks_ms):>9,.1f} ms (median)",
        f"  a bare count    {statistics.median(measured.bare_ms):>9,.1f} ms, {measured.rows:,} rows",
        f"  ratio           {measured.ratio:>9.2f}",
        *(f"\n{plan}" for plan in measured.plans),
    ]
    return "\n".join(lines)


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1_000, 2)


_BARE: Final = f"""
    SELECT count(*) FROM {TABLE} e
    WHERE e.created_at >= (SELECT counted_until FROM flowshift.gate_looks WHERE wave = 2)
      AND e.status IS NOT NULL
"""


def _bare(engine: sa.Engine) -> tuple[int, float]:
    with engine.connect() as connection:
        began = time.perf_counter()
        rows = connection.scalar(sa.text(_BARE))
        return int(rows or 0), _ms(began)


# -- statements and their plans --------------------------------------------------------------------

Executed = list[tuple[str, Any, float]]

_NAMES: Final = {
    "did any come": "SELECT EXISTS (",
    "V1, a week": "WITH mine",
    "the control": "count(DISTINCT (",
    "minutes": "WITH seen",
}


@contextmanager
def _recorded(engine: sa.Engine) -> Iterator[Executed]:
    """What is executed through SQLAlchemy meanwhile on the platform's table, with times in ms."""
    executed: Executed = []

    def before(conn: sa.Connection, _c: object, _s: str, _p: object, _x: object, _m: bool) -> None:
        conn.info["began"] = time.perf_counter()

    def after(
        conn: sa.Connection, _c: object, said: str, values: Any, _x: object, _m: bool
    ) -> None:
        if TABLE in said and "pg_attribute" not in said:
            executed.append((said, values, _ms(conn.info["began"])))

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    try:
        yield executed
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def _name(said: str) -> str:
    return next((name for name, start in _NAMES.items() if start in said), "other")


def _statements(executed: Executed) -> dict[str, float]:
    """The sum by kind of statement."""
    found: dict[str, float] = {}
    for said, _, ms in executed:
        found[_name(said)] = round(found.get(_name(said), 0.0) + ms, 1)
    return found


def _plans(current: Runtime) -> list[str]:
    """The plans of another first look, and of a later one."""
    with current.engine.begin() as connection:
        connection.execute(
            sa.text(
                "TRUNCATE flowshift.gate_looks, flowshift.gate_bots,"
                " flowshift.gate_bad_minutes, flowshift.gate_control_minutes"
            )
        )
    with _recorded(current.engine) as executed:
        look(current, 1, 2)
        look(current, 1, 2)
    chosen = {_name(said): (said, values) for said, values, _ in executed}
    return [f"-- {name}\n{_plan(current.engine, *one)}" for name, one in chosen.items()]


def _plan(engine: sa.Engine, said: str, values: Any) -> str:
    with engine.connect() as connection, connection.begin() as transaction:
        rows = connection.exec_driver_sql("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + said, values)
        plan = "\n".join(line for (line,) in rows)
        transaction.rollback()
    return plan


# -- the database ----------------------------------------------------------------------------------

_SET_UP: Final = f"""
    INSERT INTO bots (bot_id, name, use_workflow_v2)
    SELECT 'bot-' || n, 'Bot', true FROM generate_series(1, {BOTS}) n;
    INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph, published_at)
    SELECT md5('bot-' || n)::uuid, 'bot-' || n, 'v1.0', 'published', '{{}}', now()
    FROM generate_series(1, {BOTS}) n;
    INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state)
    VALUES (1, 'r', 'bench', 'watching');
    INSERT INTO flowshift.waves (publication_id, number, label, state, bot_count, watched_from)
    VALUES (1, 1, '1 %', 'passed', {CONTROL}, now() - interval '20 hours'),
           (1, 2, '10 %', 'watching', {WAVE}, now() - interval '6 hours');
    INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, version_id, version,
                                            content_hash, workflow_hash, published_at)
    SELECT 'bot-' || n, 1, w.number, w.bots, md5('bot-' || n)::uuid, 'v1.0', 1, 1, w.at
    FROM generate_series(1, {WAVE + CONTROL}) n
    JOIN LATERAL (VALUES (2, 'published', now() - interval '6 hours', n <= {WAVE}),
                         (1, 'confirmed', now() - interval '20 hours', n > {WAVE}))
         AS w (number, bots, at, is_it) ON w.is_it;
"""

_LOAD: Final = f"""
    INSERT INTO {TABLE} (id, bot_id, workflow_version_id, session_id, graph_snapshot, inputs, outputs,
        status, error_message, started_at, finished_at, elapsed_time, total_tokens, created_at)
    SELECT gen_random_uuid(), 'bot-' || b.n,
           CASE WHEN b.n > {WAVE + CONTROL} OR t.at > p.published_at THEN md5('bot-' || b.n)::uuid END,
           'session-' || i / 3, g.graph, '{{"query": "환불은 언제 되나요?"}}',
           jsonb_build_object('answer', md5(i::text) || md5((i + 1)::text)),
           CASE WHEN i %% 97 = 0 THEN 'failed' ELSE 'succeeded' END,
           CASE WHEN i %% 97 = 0 THEN 'the model gave no answer' END,
           t.at, t.at + interval '1 second', 700 + i %% 900, 100 + i %% 300, t.at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS i
    CROSS JOIN LATERAL (SELECT 1 + i * 7919 %% {BOTS} AS n) b
    CROSS JOIN LATERAL (
        SELECT now() - interval '30 days' + (i - 0.5) * (interval '30 days' / %(all)s) AS at) t
    CROSS JOIN LATERAL (SELECT (SELECT jsonb_object_agg('node ' || k, md5((i * k)::text))
                                FROM generate_series(1, 8) k) AS graph) g
    LEFT JOIN flowshift.publication_bots p ON p.bot_id = 'bot-' || b.n
"""


def _fill(url: str, executions: int) -> None:
    engine = create_engine(
        database_url(url),
        lock_timeout_ms=5_000,
        statement_timeout_ms=600_000,
        application_name="flowshift bench",
    )
    upgrade.upgrade(engine)
    engine.dispose()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # keys need no check here
        connection.execute("SET synchronous_commit = off")
        for statement in _SET_UP.split(";")[:-1]:
            connection.execute(statement.encode())
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexname LIKE 'idx_%%'",
            [TABLE],
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        for first in range(0, executions, LOADED_AT_A_TIME):
            last = min(executions, first + LOADED_AT_A_TIME)
            connection.execute(
                _LOAD.encode(), {"first": first + 1, "last": last, "all": executions}
            )
        connection.execute("SET maintenance_work_mem = '512MB'")
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


BENCH: Final = Bench(name="look", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
