"""Measure every page, as a browser asks for it, on a fleet as a run and a publication leave it.

A database is filled once: each bot with a workflow, a draft and a row of the ledger; a quarter failed; half
are out in waves of a publication whose gate has looked hundreds of times; each bot was executed. Then
the real server answers each page over HTTP, in turns. The database's time of a page is what it waits
for its statements; beside it is that of the commands that say the same. `--plans` prints the plans of
the statements of the slowest page.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import event

from bench.main import Bench, Place, main
from bench.plans import explained
from bench.rollback import _autocommit, _pages
from migrations import upgrade
from worker import runtime
from worker.core.publication.gate import judge
from worker.db.bulk import JsonText, driver
from worker.db.publication import readings
from worker.db.publication.content import content_hash, workflow_hash
from worker.processes.ports import listen
from worker.runtime import Runtime
from worker.steps.examine import examine_bot
from worker.steps.now import read_fleet
from worker.steps.prune.calendar import read_schedule
from worker.steps.publication.look import look
from worker.steps.status import read_status
from worker.web.app import create_guarded
from worker.web.server import make_server

BOTS: Final = 100_000
TURNS: Final = 30
SHAPES: Final = 500
GOAL_MS: Final = 200
READINGS: Final = 400
STATEMENT_MS: Final = 600_000
CSV: Final = "/runs/1/failures.csv"
BOT: Final = "bot-00000010"

PREVIEW: Final = "/publications/1/rollback?whole=true"
"""It reads every bot that is live, as `flowshift rollback` does: it is asked for once."""

PATHS: Final = (
    "/",
    "/runs",
    "/runs/1",
    "/runs/1?code=cycle&begins=bot-0005",
    "/runs/2",
    f"/bot?id={BOT}",
    "/publications",
    "/publications/1",
    "/publications/1/rollback",
    "/executions",
    "/executions?failed=true",
    f"/executions?bot={BOT}",
    "/executions?run=1",
    "/audit",
    "/settings",
)


class Taken(msgspec.Struct, frozen=True):
    """What a page or a command took, in milliseconds: in all, and of its statements."""

    name: str
    p50_ms: float
    p95_ms: float
    first_ms: float
    database_ms: float
    statements: float


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says."""

    bots: int
    pages: list[Taken]
    commands: list[Taken]
    csv_lines: int
    csv_s: float
    preview_s: float
    plans: list[str] = []


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=BOTS, help="such as 1,000,000 (minutes)")
    parser.add_argument("--turns", type=int, default=TURNS, help="requests of each page")
    parser.add_argument("--plans", action="store_true", help="print plans, too")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.settings("pages") as settings:
        current = runtime.configure(msgspec.structs.replace(settings, web_rate=0))
        upgrade.upgrade(current.engine)
        fill(current, given.bots)
        with Watch() as watch, serving(current) as port:
            pages = [page(port, path, given.turns, watch) for path in PATHS]
            lines, csv_s = csv(port)
            preview_s = once(port, PREVIEW)
        with Watch() as watch:
            beside = [
                taken(name, work, given.turns, watch) for name, work in commands(current).items()
            ]
        slowest = max(pages, key=lambda one: one.p95_ms)
        plans = _plans(current, slowest.name) if given.plans else []
    return Measured(given.bots, pages, beside, lines, csv_s, preview_s, plans)


def report(measured: Measured) -> str:
    """The result as people read it: Markdown."""
    head = "| p50 ms | p95 ms | first ms | database ms | statements |"
    lines = [f"{measured.bots:,} bots", "", f"| page {head}", "|---|---:|---:|---:|---:|---:|"]
    lines += [_row(one) for one in measured.pages]
    lines += ["", f"| command {head}", "|---|---:|---:|---:|---:|---:|"]
    lines += [_row(one) for one in measured.commands]
    slow = [one.name for one in measured.pages if one.p95_ms > GOAL_MS]
    lines += ["", f"over {GOAL_MS} ms at p95: {', '.join(slow) or 'none'}"]
    lines += [f"{CSV}: {measured.csv_lines:,} lines in {measured.csv_s:.1f} s"]
    lines += [f"{PREVIEW}: {measured.bots // 2:,} bots in {measured.preview_s:.1f} s"]
    return "\n".join([*lines, *(f"\n{plan}" for plan in measured.plans)])


def _row(one: Taken) -> str:
    numbers = f"{one.p50_ms:.0f} | {one.p95_ms:.0f} | {one.first_ms:.0f} | {one.database_ms:.1f}"
    return f"| `{one.name}` | {numbers} | {one.statements:.0f} |"


# -- measuring -------------------------------------------------------------------------------------


_BY_THE_CLOCK: Final = ("requests", "heartbeat", "count")


class Watch:
    """Adds up the time and the number of the statements that any engine of this process executes.

    Those of the server's own threads are left out: they come by the clock, whatever is asked for.
    """

    def __init__(self) -> None:
        self.spent_ms = 0.0
        self.statements = 0
        self._lock = threading.Lock()

    def _before(self, conn: sa.Connection, *_: object) -> None:
        conn.info["began"] = time.perf_counter()

    def _after(self, conn: sa.Connection, *_: object) -> None:
        if threading.current_thread().name in _BY_THE_CLOCK:
            return
        with self._lock:
            self.spent_ms += _ms(conn.info["began"])
            self.statements += 1

    def __enter__(self) -> Watch:
        event.listen(sa.Engine, "before_cursor_execute", self._before)
        event.listen(sa.Engine, "after_cursor_execute", self._after)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(sa.Engine, "before_cursor_execute", self._before)
        event.remove(sa.Engine, "after_cursor_execute", self._after)


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1_000


def taken(name: str, work: Callable[[], object], turns: int, watch: Watch) -> Taken:
    """The first time apart: it may count what is remembered afterwards."""
    times = []
    for _ in range(turns + 1):
        began = time.perf_counter()
        work()
        times.append(_ms(began))
        if len(times) == 1:
            spent, statements = watch.spent_ms, watch.statements
    later = sorted(times[1:])
    return Taken(
        name=name,
        p50_ms=round(statistics.median(later), 1),
        p95_ms=round(later[min(len(later) - 1, round(0.95 * len(later)))], 1),
        first_ms=round(times[0], 1),
        database_ms=round((watch.spent_ms - spent) / turns, 1),
        statements=round((watch.statements - statements) / turns, 1),
    )


def page(port: int, path: str, turns: int, watch: Watch) -> Taken:
    """What a page takes, asked for as a browser does, one request after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask() -> None:
        connection.request("GET", path, headers={"Accept": "text/html"})
        answer = connection.getresponse()
        assert answer.status == http.client.OK, (path, answer.status, answer.read()[-2_000:])
        answer.read()

    try:
        return taken(path, ask, turns, watch)
    finally:
        connection.close()


def csv(port: int) -> tuple[int, float]:
    """How many lines the CSV of all failures has, and how many seconds it takes to come."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began, lines = time.perf_counter(), 0
    connection.request("GET", CSV)
    answer = connection.getresponse()
    while piece := answer.read(1 << 16):
        lines += piece.count(b"\n")
    connection.close()
    return lines, round(time.perf_counter() - began, 2)


def once(port: int, path: str) -> float:
    """Seconds of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    connection.request("GET", path, headers={"Accept": "text/html"})
    answer = connection.getresponse()
    assert answer.status == http.client.OK, answer.read()[-2_000:]
    answer.read()
    connection.close()
    return round(time.perf_counter() - began, 1)


def commands(current: Runtime) -> dict[str, Callable[[], object]]:
    """What commands read that say what a page says, in this process; and what `/` has counted beside it."""
    settings, engine = current.settings, current.engine

    def status(run_id: int | None) -> None:
        read_status(engine, settings, run_id, most_failures=5)
        read_schedule(engine, settings.prune_at)

    def show() -> None:
        examine_bot(engine, BOT, current.defaults, current.echo_for, setting=settings.target)

    return {
        "status": lambda: status(None),
        "status 1": lambda: status(1),
        f"show {BOT}": show,
        "the count of /": lambda: read_fleet(engine, settings),
    }


def _plans(current: Runtime, path: str) -> list[str]:
    """The plans of the statements of a page."""
    with explained(sa.Engine) as plans, serving(current) as port:
        page(port, path, 1, Watch())
    return [str(plan) for plan in plans[len(plans) // 2 :]]


@contextmanager
def serving(current: Runtime) -> Iterator[int]:
    """The real server, in a thread."""
    with listen("127.0.0.1", 0, who="the bench", setting="") as bound:
        server = make_server(create_guarded(current, "127.0.0.1"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


# -- the database ----------------------------------------------------------------------------------

_CODES: Final = ("cycle", "end_count", "invalid_config", "invalid_text", "unknown_node_type")
"""Of a quarter of the bots; the others converted."""

_BATCH: Final = 500
_TARGET: Final = """'{"target": "guide"}'"""

_ID: Final = "'bot-' || lpad(n::text, 8, '0')"

_FILL: Final = (
    f"""
    INSERT INTO bots (bot_id, name, workflow, use_workflow_v2)
    SELECT {_ID}, '상담 봇 ' || n, s.workflow::json, n % 2 = 0
    FROM generate_series(1, :bots) AS n JOIN shapes s ON s.id = n % :shapes
    """,
    f"""
    INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)
    SELECT {_ID}, v.version, v.status, s.graph, CASE WHEN v.status = 'published' THEN now() END
    FROM generate_series(1, :bots) AS n JOIN shapes s ON s.id = n % :shapes
    JOIN (VALUES ('draft', 'draft', 1), ('v1.0', 'published', 2)) AS v (version, status, every)
      ON n % v.every = 0
    """,
    f"""
    INSERT INTO flowshift.proofs (bot_id, content_hash, workflow_hash, run_id)
    SELECT b.bot_id, {content_hash("d")}, {workflow_hash("b")}, 1
    FROM bots b JOIN bot_workflow_versions d ON d.bot_id = b.bot_id AND d.status = 'draft'
    """,
    f"""
    INSERT INTO flowshift.runs (request_id, state, options, dry_run, requested_by, converter_version,
        batch_count, bot_count, created_at, started_at, running_since, finished_at)
    SELECT 'bench ' || n, CASE n WHEN 2 THEN 'running' ELSE 'completed_with_failures' END, {_TARGET},
           false, 'bench', '1', :batches, :bots, now() - interval '2 hours', now() - interval '2 hours',
           now() - interval '2 hours', CASE WHEN n <> 2 THEN now() - interval '1 hour' END
    FROM generate_series(1, 40) AS n
    """,
    f"""
    INSERT INTO flowshift.batches (run_id, number, after_bot_id, through_bot_id, bot_count, state, attempt,
        finished_at, converted, skipped, failed, warnings, validated, codes, duration_ms, overhead)
    SELECT r.run_id, k, 'bot-' || lpad(((k - 1) * {_BATCH})::text, 8, '0'),
           'bot-' || lpad((k * {_BATCH})::text, 8, '0'), {_BATCH}, s.state, 1, s.at,
           {_BATCH * 3 // 4}, 0, {_BATCH // 4}, 200, {_BATCH * 3 // 4},
           (SELECT jsonb_object_agg('failed:' || c, {_BATCH // 20}) FROM unnest(CAST(:codes AS text[])) c),
           300 + k % 97, jsonb_build_object('counts', (SELECT jsonb_object_agg(us * 10, 12 + k)
               FROM generate_series(1, 30) us), 'max_us', 900, 'over_limit', 0, 'slow', '[]'::jsonb)
    FROM flowshift.runs r, generate_series(1, :batches) AS k, LATERAL (
        SELECT CASE WHEN r.run_id = 2 AND k > :batches / 2 THEN 'pending' ELSE 'done' END AS state,
               CASE WHEN r.run_id <> 2 OR k <= :batches / 2
                    THEN now() - interval '2 hours' + k * (interval '1 hour' / :batches) END AS at) s
    WHERE r.run_id <= 2
    """,
    f"""
    INSERT INTO flowshift.ledger (run_id, batch, bot_id, outcome, code, message, warnings, draft_hash)
    SELECT 1, 1 + (n - 1) / {_BATCH}, {_ID}, CASE WHEN n % 4 = 1 THEN 'failed' ELSE 'converted' END,
           CASE WHEN n % 4 = 1 THEN (CAST(:codes AS text[]))[1 + n / 4 % 5] END,
           CASE WHEN n % 4 = 1 THEN 'node ''llm-1'' failed: 5 nodes are on it or behind it' END,
           CASE WHEN n % 4 = 2 THEN CAST('[{{"code": "join_node", "node": "llm-1",
               "message": "''text-join-1'' joins what ''knowledge-1'' found"}}]' AS jsonb) END, 1
    FROM generate_series(1, :bots) AS n
    """,
    """
    INSERT INTO workflow_execution_runs (bot_id, workflow_version_id, session_id, graph_snapshot, inputs,
        outputs, status, error_message, started_at, finished_at, elapsed_time, created_at)
    SELECT v.bot_id, v.id, 'visitor-' || v.bot_id, '{}', '{"query": "환불은 언제 되나요?"}',
           '{"answer": "사흘 안에 됩니다."}', CASE WHEN t.fails THEN 'failed' ELSE 'succeeded' END,
           CASE WHEN t.fails THEN 'the model gave no answer' END,
           t.at, t.at + interval '1 second', 700, t.at
    FROM bot_workflow_versions v, LATERAL (
        SELECT hashtext(v.bot_id) % 200 = 0 AS fails,
               now() - interval '20 minutes' * (hashtext(v.bot_id) & 1023) / 1024 AS at) t
    WHERE v.status = 'published'
    """,
    """
    INSERT INTO workflow_node_executions (workflow_run_id, node_id, node_type, execution_order, inputs,
        outputs, status, elapsed_time)
    SELECT e.id, 'node-' || n, 'llm', n, '{"query": "환불"}', '{"text": "사흘"}', 'completed', 100
    FROM workflow_execution_runs e, generate_series(1, 4) AS n
    """,
    f"""
    INSERT INTO flowshift.publications (request_id, requested_by, state, bot_count, options, source_run_id)
    SELECT 'bench', 'bench', 'watching', :bots / 2, {_TARGET}, 1
    """,
    """
    INSERT INTO flowshift.waves (publication_id, number, label, state, bot_count, published, started_at,
        watched_from, run_id)
    SELECT 1, w.number, w.label, w.state, w.bots, w.bots, now() - interval '1 hour',
           now() - interval '30 minutes', 2 + w.number
    FROM (VALUES (1, '1', 'passed', 1), (2, '10 %', 'passed', :bots / 20 - 1),
                 (3, 'all', 'watching', :bots / 2 - :bots / 20)) AS w (number, label, state, bots)
    """,
    """
    INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, version_id, version,
                                            content_hash, workflow_hash, published_at)
    SELECT v.bot_id, 1, CASE WHEN v.place = 1 THEN 1 WHEN v.place <= :bots / 20 THEN 2 ELSE 3 END,
           CASE WHEN v.place <= :bots / 20 THEN 'confirmed' ELSE 'published' END, v.id, 'v1.0', 1, 1, now()
    FROM (SELECT bot_id, id, row_number() OVER (ORDER BY bot_id) AS place
          FROM bot_workflow_versions WHERE status = 'published') v
    """,
    """
    INSERT INTO flowshift.audit (actor, action, run_id, detail)
    SELECT 'bench', 'run.running', 1 + n % 40, '{}' FROM generate_series(1, 5000) AS n
    """,
)

_MORE_READINGS: Final = """
    INSERT INTO flowshift.gate_readings (publication_id, wave, read_at, outcome, sentence, reading)
    SELECT publication_id, wave, now() - interval '30 minutes' + n * interval '4 seconds', outcome,
           sentence, reading
    FROM flowshift.gate_readings, generate_series(1, :readings) AS n
"""


def fill(current: Runtime, bots: int) -> None:
    """A fleet of so many bots with a run, another one that goes on, and a publication that is watched."""
    shapes = next(_pages(SHAPES))
    bots -= bots % _BATCH
    given = {"bots": bots, "shapes": len(shapes), "batches": bots // _BATCH, "codes": list(_CODES)}
    engine = current.engine
    with engine.begin() as connection:
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {STATEMENT_MS}"))
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        connection.execute(sa.text("CREATE TABLE shapes (id int, workflow text, graph jsonb)"))
        with driver(connection).cursor() as cursor:
            cursor.executemany(
                "INSERT INTO shapes VALUES (%b, %b, %b)",
                [(n, text, JsonText(graph)) for n, (_, text, graph) in enumerate(shapes)],
            )
        for statement in _FILL:
            connection.execute(sa.text(statement), given)
    with _autocommit(engine) as connection:
        connection.execute(sa.text(f"SET statement_timeout = {STATEMENT_MS}"))
        connection.execute(sa.text("VACUUM ANALYZE"))
        connection.execute(sa.text("CHECKPOINT"))
    read = look(current, 1, 3)
    with engine.begin() as connection:
        readings.keep(connection, read, judge(read))
        connection.execute(sa.text(_MORE_READINGS), {"readings": READINGS})


BENCH: Final = Bench(name="pages", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
