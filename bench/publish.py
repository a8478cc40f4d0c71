"""Measure a batch of a publication against the bare statements that it cannot do without.

A fleet as a platform has it, with two versions of each bot besides its draft, the bots of two earlier
publications, and the ledger of four runs. Then batches of 200 bots, which are scattered over all, go
out in turns with as many bots by four statements alone: insert the version, archive the one before,
empty the draft, set the flag. `--plans` prints the plans of every statement of one batch more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec
import sqlalchemy as sa

from bench.main import Bench, Place, main
from bench.plans import Plan, explained
from bench.rollback import _autocommit, _pages
from migrations import upgrade
from worker import runtime
from worker.core.policy.batch_ref import BatchRef
from worker.db import admission
from worker.db.bulk import JsonText, driver
from worker.db.publication import waves
from worker.db.publication.content import content_hash, workflow_hash
from worker.runtime import Runtime
from worker.steps.batch.kinds import KINDS
from worker.steps.publication.begin import BATCH, begin

BOTS: Final = 20_000
TURNS: Final = 9
SHAPES: Final = 500
"""Different workflows: the bots of the sample fleet that convert."""


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says; times in milliseconds of a batch, medians."""

    bots: int
    batch_ms: float
    bare_ms: float
    bots_per_s: float
    bare_bots_per_s: float
    ratio: float
    plans: list[str] = []


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=BOTS)
    parser.add_argument("--turns", type=int, default=TURNS, help="batches of each")
    parser.add_argument("--plans", action="store_true", help="print plans, too")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.settings("publish") as settings:
        current = runtime.configure(settings)
        upgrade.upgrade(current.engine)
        fill(current.engine, given.bots, (given.turns + 2) * BATCH)
        run_id = begin_wave(current)
        took: dict[str, list[float]] = {"batch": [], "bare": []}
        for turn in range(given.turns + 1):  # the first of each asks what is remembered afterwards
            took["bare"].append(_ms(lambda at=turn: bare(current.engine, at)))  # type: ignore[misc]
            took["batch"].append(_ms(lambda at=turn: publish(current, run_id, at + 1)))  # type: ignore[misc]
        plans = plans_of(current, run_id, given.turns + 2) if given.plans else []
    batch_ms, bare_ms = (statistics.median(took[name][1:]) for name in ("batch", "bare"))
    return Measured(
        bots=given.bots,
        batch_ms=round(batch_ms, 1),
        bare_ms=round(bare_ms, 1),
        bots_per_s=round(BATCH / batch_ms * 1000),
        bare_bots_per_s=round(BATCH / bare_ms * 1000),
        ratio=round(batch_ms / bare_ms, 2),
        plans=[str(plan) for plan in plans],
    )


def report(measured: Measured) -> str:
    """The result as people read it."""
    lines = [
        f"{measured.bots:,} bots, batches of {BATCH}, medians",
        f"  bare statements {measured.bare_ms:>7.1f} ms  {measured.bare_bots_per_s:>8,.0f} bots/s",
        f"  a batch         {measured.batch_ms:>7.1f} ms  {measured.bots_per_s:>8,.0f} bots/s",
        f"  ratio           {measured.ratio:>7.2f}",
        *(f"\n{plan}" for plan in measured.plans),
    ]
    return "\n".join(lines)


def _ms(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


# -- what is measured ------------------------------------------------------------------------------


def publish(current: Runtime, run_id: int, number: int) -> None:
    """A batch, as a worker does it, from its claim to its commit."""
    ref, settings = BatchRef(run_id, number), current.settings
    with current.engine.begin() as connection:
        batch = admission.claim(
            connection, ref, worker="bench", lease_s=settings.lease_s, target_ms=0
        )
    assert batch is not None
    report = KINDS[batch.kind].run(batch, current)
    assert report.counts.published == BATCH, report.codes


_BARE: Final = (
    """
    UPDATE bot_workflow_versions SET status = 'archived'
    WHERE bot_id = ANY(:ids) AND status = 'published'
    """,
    """
    INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)
    SELECT bot_id, 'v1.2', 'published', graph, now() FROM bot_workflow_versions
    WHERE bot_id = ANY(:ids) AND status = 'draft'
    """,
    """
    UPDATE bot_workflow_versions SET graph = '{"nodes": [], "edges": []}', updated_at = now()
    WHERE bot_id = ANY(:ids) AND status = 'draft'
    """,
    "UPDATE bots SET use_workflow_v2 = true WHERE bot_id = ANY(:ids)",
)


def bare(engine: sa.Engine, turn: int) -> None:
    """The yardstick: what the platform itself must write, in one transaction."""
    with engine.begin() as connection:
        query = "SELECT bot_id FROM bare_bots ORDER BY bot_id LIMIT :n OFFSET :o"
        rows = connection.execute(sa.text(query), {"n": BATCH, "o": turn * BATCH})
        ids = list(rows.scalars())
        for statement in _BARE:
            assert connection.execute(sa.text(statement), {"ids": ids}).rowcount == BATCH


def plans_of(current: Runtime, run_id: int, number: int) -> list[Plan]:
    """The plans of every statement of a batch."""
    with explained(current.engine) as plans:
        publish(current, run_id, number)
    return plans


# -- the fleet -------------------------------------------------------------------------------------

# Of every so many bots in a row one goes out by the publication, and the next one by the yardstick.
_FILL: Final = (
    """
    INSERT INTO bots (bot_id, name, workflow)
    SELECT 'bot-' || lpad(n::text, 8, '0'), 'Bot', s.workflow::json
    FROM generate_series(1, :bots) AS n JOIN shapes s ON s.id = n % :shapes
    """,
    """
    INSERT INTO bot_workflow_versions (bot_id, version, status, graph)
    SELECT 'bot-' || lpad(n::text, 8, '0'), 'draft', 'draft', s.graph
    FROM generate_series(1, :bots) AS n JOIN shapes s ON s.id = n % :shapes
    """,
    """
    INSERT INTO bot_workflow_versions (bot_id, version, status, graph, published_at)
    SELECT b.bot_id, v.version, v.status, '{"nodes": []}', now() - v.age
    FROM bots b, (VALUES ('v1.0', 'archived', interval '2 days'),
                         ('v1.1', 'published', interval '1 day')) AS v (version, status, age)
    """,
    f"""
    INSERT INTO flowshift.proofs (bot_id, content_hash, workflow_hash, run_id)
    SELECT b.bot_id, {content_hash("d")}, {workflow_hash("b")}, 4
    FROM bots b JOIN bot_workflow_versions d ON d.bot_id = b.bot_id AND d.status = 'draft'
    WHERE b.id % :apart = 0 AND b.id <= :until
    """,
    """
    INSERT INTO flowshift.proofs (bot_id, content_hash, workflow_hash, run_id)
    SELECT bot_id, 1, 1, 4 FROM bots ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO flowshift.ledger (run_id, batch, bot_id, outcome, draft_hash)
    SELECT r, 1, d.bot_id, 'converted', hashtextextended(d.graph::text COLLATE "C", 0)
    FROM bot_workflow_versions d, generate_series(101, 104) AS r WHERE d.status = 'draft'
    """,
    """
    INSERT INTO flowshift.publications (request_id, requested_by, state, bot_count, options, finished_at)
    SELECT 'bench ' || n, 'bench', CASE WHEN n < 3 THEN 'stopped' ELSE 'publishing' END, :bots,
           '{"target": "guide"}', CASE WHEN n < 3 THEN now() END FROM generate_series(1, 3) AS n
    """,
    """
    INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, version_id, version,
                                            content_hash, workflow_hash, published_at)
    SELECT v.bot_id, CASE v.version WHEN 'v1.0' THEN 1 ELSE 2 END, 1,
           'superseded', v.id, v.version, 1, 1, v.published_at
    FROM bot_workflow_versions v WHERE v.status <> 'draft'
    """,
    """
    INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave)
    SELECT bot_id, 3, CASE WHEN id % :apart = 0 AND id <= :until THEN 1 ELSE 2 END FROM bots
    """,
    """
    INSERT INTO flowshift.waves (publication_id, number, label, bot_count)
    VALUES (3, 1, '10 %', :wave), (3, 2, 'all', :bots - :wave)
    """,
    """
    CREATE TABLE bare_bots AS
    SELECT bot_id FROM bots WHERE id % :apart = 1 AND id <= :until
    """,
)


def fill(engine: sa.Engine, bots: int, wave: int, *, shapes: int = SHAPES) -> None:
    """A fleet of so many bots, `wave` of which are to be published."""
    page = next(_pages(shapes))
    given = {"bots": bots, "wave": wave, "shapes": len(page), "apart": bots // wave}
    given["until"] = given["apart"] * wave
    assert given["apart"] >= 2, "too few bots for so many turns"
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE shapes (id int, workflow text, graph jsonb)"))
        with driver(connection).cursor() as cursor:
            cursor.executemany(
                "INSERT INTO shapes VALUES (%b, %b, %b)",
                [(n, text, JsonText(graph)) for n, (_, text, graph) in enumerate(page)],
            )
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        for statement in _FILL:
            connection.execute(sa.text(statement), given)
    with _autocommit(engine) as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        connection.execute(sa.text("VACUUM ANALYZE"))
        connection.execute(sa.text("CHECKPOINT"))


def begin_wave(current: Runtime) -> int:
    """Begin the wave; returns its run."""
    with current.engine.begin() as connection:
        found = waves.get(connection, 3)
        assert found is not None
        run_id = begin(connection, found, waves.of(connection, 3)[0], "bench").run_id
    assert run_id is not None
    return run_id


BENCH: Final = Bench(name="publish", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
