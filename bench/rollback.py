"""Measure a rollback against one bare UPDATE of the same bots, and what the platform feels meanwhile.

A fleet is published as a publication does it. Then, in turns, its bots go back to V1: by one
`UPDATE bots SET use_workflow_v2 = false` of the whole table, by one that names them, and by a
rollback. Before each of them all is live again, and the tables are vacuumed. The ratios are those of
the medians. At the end both go on once more while clients save workflows of the same bots.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from bench.main import Bench, Place, main
from bench.saves import Saves, saving, summary
from migrations import upgrade
from worker import runtime
from worker.core.publication.eligibility import Rules
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.db.bulk import JsonText, driver
from worker.db.publication import proofs, waves
from worker.db.publication.proofs import Agreed
from worker.db.publication.publish import publish_bots
from worker.db.publication.rolling import Which
from worker.errors import BotError
from worker.runtime import Runtime
from worker.sample import sample_bots
from worker.settings import Settings
from worker.steps.publication import rollback
from worker.steps.publication.rounds import Moved
from worker.steps.publication.v1 import v1_problem

BOTS: Final = 10_000
TURNS: Final = 7
PAGE: Final = 1_000


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says; times in milliseconds, medians."""

    bots: int
    turns: int
    bare_ms: float
    by_id_ms: float
    rollback_ms: float
    preview_ms: float
    ratio: float
    ratio_by_id: float
    ratio_with_preview: float
    longest_batch_ms: float
    saves_alone: Saves
    saves_beside_bare: Saves
    saves_beside_rollback: Saves


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=BOTS)
    parser.add_argument("--turns", type=int, default=TURNS, help="measurements of each")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.settings("rollback") as settings:
        return measure_with(settings, given.bots, given.turns)


def measure_with(settings: Settings, bots: int, turns: int) -> Measured:
    """Publish a fleet, then take it back in turns."""
    current = runtime.configure(settings)
    upgrade.upgrade(current.engine)
    texts = publish_fleet(current, bots)
    took: dict[str, list[float]] = {"bare": [], "by_id": [], "rollback": [], "preview": []}
    batches: list[float] = []
    for _ in range(turns):
        reset(current.engine)
        took["bare"].append(_ms(lambda: bare(current.engine, bots)))
        reset(current.engine)
        took["rollback"].append(_ms(lambda: roll_back(current, bots, batches)))
        reset(current.engine)
        took["by_id"].append(_ms(lambda: bare(current.engine, bots, sorted(texts))))
        reset(current.engine)
        began = time.perf_counter()
        rollback.look(current, Which())
        took["preview"].append((time.perf_counter() - began) * 1000)
    alone, beside_bare, beside_rollback = _beside(current, settings.database_url, texts, bots)
    median = {name: statistics.median(values) for name, values in took.items()}
    return Measured(
        bots=bots,
        turns=turns,
        bare_ms=round(median["bare"]),
        by_id_ms=round(median["by_id"]),
        rollback_ms=round(median["rollback"]),
        preview_ms=round(median["preview"]),
        ratio=round(median["rollback"] / median["bare"], 2),
        ratio_by_id=round(median["rollback"] / median["by_id"], 2),
        ratio_with_preview=round((median["rollback"] + median["preview"]) / median["bare"], 2),
        longest_batch_ms=round(max(batches)),
        saves_alone=alone,
        saves_beside_bare=beside_bare,
        saves_beside_rollback=beside_rollback,
    )


def report(measured: Measured) -> str:
    """The result as people read it."""
    lines = [
        f"{measured.bots:,} bots, medians of {measured.turns}",
        f"  bare UPDATE of the table {measured.bare_ms:>6,.0f} ms   ratio {measured.ratio:.2f}",
        f"  bare UPDATE by ids       {measured.by_id_ms:>6,.0f} ms   ratio {measured.ratio_by_id:.2f}",
        f"  rollback                {measured.rollback_ms:>7,.0f} ms",
        f"  preview                 {measured.preview_ms:>7,.0f} ms",
        f"  both, to the bare UPDATE of the table       {measured.ratio_with_preview:>9.2f}",
        f"  longest batch           {measured.longest_batch_ms:>7,.0f} ms",
        "  saves of the same bots, ms     count     p50     p99     max",
    ]
    for name, saves in (
        ("alone", measured.saves_alone),
        ("beside the bare UPDATE", measured.saves_beside_bare),
        ("beside the rollback", measured.saves_beside_rollback),
    ):
        lines.append(
            f"    {name:<26}{saves.count:>7,}{saves.p50_ms:>8.1f}{saves.p99_ms:>8.1f}{saves.max_ms:>8.1f}"
        )
    return "\n".join(lines)


# -- what is measured ------------------------------------------------------------------------------


def bare(engine: sa.Engine, bots: int, ids: list[str] | None = None) -> None:
    """The yardstick: the flag of every bot that is live, and nothing besides; by their ids if given."""
    which = "use_workflow_v2" if ids is None else "bot_id = ANY(:ids)"
    with engine.begin() as connection:
        changed = connection.execute(
            sa.text(f"UPDATE bots SET use_workflow_v2 = false WHERE {which}"),
            {} if ids is None else {"ids": ids},
        ).rowcount
    assert changed == bots


def roll_back(current: Runtime, bots: int, batches: list[float]) -> None:
    """A rollback of all; notes the milliseconds from one batch to the next."""
    since = [time.perf_counter()]

    def note(_: Moved) -> None:
        since.append(time.perf_counter())

    result = rollback.roll_back(
        current, Which(), digest=None, actor="bench", reason=None, show=note
    )
    assert result.bots == {"rolled_back": bots}
    batches += [(after - before) * 1000 for before, after in pairwise(since[1:])]


def _beside(
    current: Runtime, url: str, texts: dict[str, str], bots: int
) -> tuple[Saves, Saves, Saves]:
    """Saves alone, beside a bare UPDATE, and beside a rollback, each from a second before it on."""
    found: list[Saves] = []
    works: tuple[Callable[[], None], ...] = (
        lambda: time.sleep(1),
        lambda: bare(current.engine, bots),
        lambda: roll_back(current, bots, []),
    )
    for work in works:
        reset(current.engine)
        with saving(url, texts) as took:
            time.sleep(1)
            del took[:]
            work()
            time.sleep(0.2)
        found.append(summary(took))
    return found[0], found[1], found[2]


def _ms(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


# -- the fleet -------------------------------------------------------------------------------------


def publish_fleet(current: Runtime, bots: int) -> dict[str, str]:
    """Bots that convert, with their drafts, published in one wave; their workflows by id."""
    texts: dict[str, str] = {}
    with current.engine.begin() as connection:
        for page in _pages(bots):
            _insert(connection, page)
            texts |= {bot_id: text for bot_id, text, _ in page}
    with current.engine.begin() as connection:
        for ids in _chunks(sorted(texts)):
            proofs.record(connection, 1, [Agreed(bot_id) for bot_id in ids])
        publication_id, _ = waves.create(
            connection,
            request_id="bench",
            source_run_id=None,
            options=waves.Options(target="guide"),
            requested_by="bench",
        )
        for query in (
            """INSERT INTO flowshift.waves
               (publication_id, number, label, state, bot_count, watched_from)
               VALUES (:id, 1, 'all', 'watching', :bots, now())""",
            """INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave)
               SELECT bot_id, :id, 1 FROM bots WHERE workflow IS NOT NULL AND :bots > 0""",
            """UPDATE flowshift.publications SET state = 'publishing', bot_count = :bots
               WHERE publication_id = :id""",
        ):
            connection.execute(sa.text(query), {"id": publication_id, "bots": bots})
    problem = v1_problem(current.defaults)
    for ids in _chunks(sorted(texts), 200):
        with current.engine.begin() as connection:
            outcomes = publish_bots(
                connection,
                publication_id,
                ids,
                rules=Rules(),
                next_draft="empty",
                v1_problem=problem,
            )
        assert {one.state for one in outcomes} == {"published"}, outcomes[0]
    return texts


def _pages(bots: int) -> Iterator[list[tuple[str, str, bytes]]]:
    page: list[tuple[str, str, bytes]] = []
    count = 0
    for bot in sample_bots(2 * bots, 0):
        if count == bots:
            break
        if bot.workflow is None or bot.uses_v2:
            continue
        try:
            graph = convert_text(bot.workflow, Defaults()).graph
        except BotError:
            continue
        page.append((bot.bot_id, bot.workflow.decode(), graph))
        count += 1
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _insert(connection: sa.Connection, page: list[tuple[str, str, bytes]]) -> None:
    ids = [bot_id for bot_id, _, _ in page]
    graphs = [JsonText(graph) for _, _, graph in page]
    with driver(connection).cursor() as cursor:
        cursor.execute(
            "INSERT INTO bots (bot_id, name, workflow)"
            " SELECT i, i, w::json FROM unnest(%s::text[], %s::text[]) AS n (i, w)",
            [ids, [text for _, text, _ in page]],
        )
        cursor.execute(
            "INSERT INTO bot_workflow_versions (bot_id, version, status, graph)"
            " SELECT i, 'draft', 'draft', g FROM unnest(%b::text[], %b::jsonb[]) AS n (i, g)",
            (ids, graphs),
        )
        cursor.execute(
            "INSERT INTO flowshift.ledger (run_id, batch, bot_id, outcome, draft_hash)"
            " SELECT 1, 1, d.bot_id, 'converted', hashtextextended(d.graph::text COLLATE \"C\", 0)"
            " FROM bot_workflow_versions d WHERE d.bot_id = ANY(%s) AND d.status = 'draft'",
            [ids],
        )


def _chunks(ids: list[str], size: int = PAGE) -> Iterator[list[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


_LIVE_AGAIN: Final = (
    "UPDATE bots SET use_workflow_v2 = true WHERE NOT use_workflow_v2",
    "UPDATE flowshift.publication_bots SET state = 'published' WHERE state <> 'published'",
    """UPDATE flowshift.publications
       SET state = 'watching', finished_at = NULL, held_from = NULL, held_because = NULL""",
    "UPDATE flowshift.waves SET state = 'watching', rolled_back = 0",
)


def reset(engine: sa.Engine) -> None:
    """All is live again, and the tables are as a platform has them after its autovacuum."""
    with engine.begin() as connection:
        for query in _LIVE_AGAIN:
            connection.execute(sa.text(query))
    with _autocommit(engine) as connection:
        for table in ("bots", "bot_workflow_versions", "flowshift.publication_bots"):
            connection.execute(sa.text(f"VACUUM ANALYZE {table}"))
        connection.execute(sa.text("CHECKPOINT"))


@contextmanager
def _autocommit(engine: sa.Engine) -> Iterator[Any]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


BENCH: Final = Bench(name="rollback", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
