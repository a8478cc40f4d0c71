"""How many drafts one statement should take: the server's time a draft, by the size of the statements.

The same 500 drafts are inserted by `worker.db.drafts.insert_drafts` with each size, in an order that
changes, and rolled back, again and again. What is said of a size is the median of its ratios to 500 rows
in the same round, so that other work on the machine changes it little, and the lower quartile of its times.

python -m bench.statements [--rounds 30]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any, Final
from unittest import mock

import msgspec
import sqlalchemy as sa

from bench.floor import graphs_of, load_fleet
from bench.main import Bench, Place, main
from bench.measured import table
from bench.writes import server_s
from migrations import upgrade
from worker import runtime
from worker.db import bulk, drafts
from worker.db.bulk import driver
from worker.sample import sample_bots

DRAFTS: Final = 500
SIZES: Final = (25, 50, 100, 200, 500)


class Measured(msgspec.Struct, frozen=True):
    """By rows of a statement: ratios to 500 rows, and µs a draft, of the server and of this process."""

    ratios: dict[int, float]
    server_us: dict[int, float]
    client_us: dict[int, float]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=30)


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.settings("statements") as settings:
        current = runtime.configure(settings)
        upgrade.upgrade(current.engine)
        load_fleet(current.engine, DRAFTS * 2)
        graphs = [*zip(*graphs_of(sample_bots(DRAFTS * 2, 0)), strict=True)][:DRAFTS]
        rounds = [_round(current.engine, graphs) for _ in range(given.rounds + 1)][1:]
    return Measured(
        ratios={
            size: statistics.median(one[size][0] / one[DRAFTS][0] for one in rounds)
            for size in SIZES
        },
        server_us={size: _lower_quartile(one[size][0] for one in rounds) for size in SIZES},
        client_us={size: _lower_quartile(one[size][1] for one in rounds) for size in SIZES},
    )


def _round(engine: sa.Engine, graphs: list[tuple[str, Any]]) -> dict[int, tuple[float, float]]:
    """µs a draft by the size of statements: the server's and ours."""
    return {size: _insert(engine, graphs, size) for size in random.sample(SIZES, len(SIZES))}


def _insert(engine: sa.Engine, graphs: list[tuple[str, Any]], rows: int) -> tuple[float, float]:
    with (
        engine.connect() as connection,
        mock.patch.object(bulk, "STATEMENT_ROWS", rows),
        mock.patch.object(bulk, "STATEMENT_BYTES", 2**30),
    ):
        pid = driver(connection).info.backend_pid
        server, ours = server_s(pid), time.process_time()
        drafts.insert_drafts(connection, graphs)
        server, ours = server_s(pid) - server, time.process_time() - ours
        connection.rollback()
    return server / len(graphs) * 1e6, ours / len(graphs) * 1e6


def _lower_quartile(values: Iterable[float]) -> float:
    return float(statistics.quantiles(values, n=4)[0])


def report(measured: Measured) -> str:
    """The result as docs/explanation/benchmark.md has it."""
    rows = [
        [
            str(size),
            f"{measured.ratios[size]:.2f}",
            f"{measured.server_us[size]:.0f}",
            f"{measured.client_us[size]:.1f}",
        ]
        for size in SIZES
    ]
    return "\n".join(table(["drafts a statement", "ratio", "server, µs", "client, µs"], rows))


STATEMENTS: Final = Bench(
    name="statements", doc=__doc__, options=options, measure=measure, report=report
)


if __name__ == "__main__":
    sys.exit(main(STATEMENTS))
