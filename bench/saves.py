"""Measure how long a platform's saves take beside a run: people at work on bots that are converted.

Four clients save workflows of the sample fleet, each with one key more, at random bots, before a run
(alone) and while it goes on. The fleet is small, so that many saves meet bots of a batch at work.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa

from bench.__main__ import WORKERS, _run
from bench.floor import load_fleet
from bench.main import Bench, Place, main
from bench.waiting import wait_for_workers
from migrations import upgrade
from worker import runtime
from worker.db import runs
from worker.processes.supervisor import Supervisor, worker_program
from worker.settings import Settings

BOTS: Final = 3_000
CLIENTS: Final = 4
PAUSE_S: Final = 0.01
ALONE_S: Final = 5.0


class Saves(msgspec.Struct, frozen=True):
    """How long saves took."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Measured(msgspec.Struct, frozen=True):
    """One run, and the saves beside it and before it."""

    bots: int
    validate: str
    run_s: float
    batches: int
    alone: Saves
    beside: Saves


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=BOTS)
    parser.add_argument("--validate", default="all")
    parser.add_argument("--batch-size", type=int, default=Settings().batch_size)


def measure(given: argparse.Namespace, place: Place) -> Measured:
    with place.settings("saves") as settings:
        wanted = msgspec.structs.replace(settings, batch_size=given.batch_size)
        return measure_with(wanted, given.bots, given.validate)


def measure_with(settings: Settings, bots: int, validate: str) -> Measured:
    """A fleet of its own, saves alone, then saves beside a run over all of it."""
    current = runtime.configure(settings)
    upgrade.upgrade(current.engine)
    load_fleet(current.engine, bots)
    texts = _texts(current.engine)
    with saving(settings.database_url, texts) as alone:
        time.sleep(ALONE_S)
    environment = {
        f"FLOWSHIFT_{name.upper()}": str(getattr(settings, name))
        for name in ("database_url", "redis_url", "namespace", "data_dir", "log_level")
    }
    program = worker_program(WORKERS, log_level="error")
    program = msgspec.structs.replace(program, environment={**program.environment, **environment})
    log_dir = Path(settings.data_dir) / "log"
    with Supervisor([program], shutdown_s=settings.shutdown_s, log_dir=log_dir):
        wait_for_workers(log_dir)
        with saving(settings.database_url, texts) as beside:
            run_s, run_id = _run(current, validate)
    with current.engine.connect() as connection:
        run = runs.get(connection, run_id)
    assert run is not None
    return Measured(
        bots, validate, round(run_s, 2), run.batch_count, summary(alone), summary(beside)
    )


def _texts(engine: sa.Engine) -> dict[str, str]:
    """The workflows that are JSON objects, by bot, to be saved with a key more."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT bot_id, workflow::text FROM bots "
                "WHERE json_typeof(workflow) = 'object' AND NOT use_workflow_v2"
            )
        ).all()
    return {bot_id: text for bot_id, text in rows if text.startswith("{")}


@contextmanager
def saving(url: str, texts: dict[str, str]) -> Iterator[list[float]]:
    """Save bots at random while the block runs; gives the milliseconds that each save took."""
    took: list[float] = []
    over = threading.Event()
    clients = [
        threading.Thread(target=_save, args=(url, texts, seed, took, over))
        for seed in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        yield took
    finally:
        over.set()
        for client in clients:
            client.join()


def _save(
    url: str, texts: dict[str, str], seed: int, took: list[float], over: threading.Event
) -> None:
    chance = random.Random(seed)
    ids = sorted(texts)
    libpq = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(libpq, autocommit=True) as connection:
        number = 0
        while not over.wait(PAUSE_S):
            number += 1
            bot_id = chance.choice(ids)
            text = f'{{"saved": {number}, {texts[bot_id][1:]}'
            parameters: list[Any] = [text, bot_id]
            started = time.perf_counter()
            connection.execute(
                "UPDATE bots SET workflow = %s::json, updated_at = now() WHERE bot_id = %s",
                parameters,
            )
            took.append((time.perf_counter() - started) * 1000)


def summary(took: list[float]) -> Saves:
    """Percentiles of the milliseconds.

    >>> summary([1.0, 2.0, 3.0])
    Saves(count=3, p50_ms=2.0, p99_ms=3.0, max_ms=3.0)
    """
    ordered = sorted(took)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    p50, most = statistics.median(ordered), ordered[-1]
    return Saves(len(ordered), round(p50, 1), round(p99, 1), round(most, 1))


def report(measured: Measured) -> str:
    """The result for a person."""
    took = f"{measured.run_s:,.1f} s, in {measured.batches:,} batches"
    lines = [f"{measured.bots:,} bots, --validate {measured.validate}: the run took {took}"]
    for name, saves in (("alone", measured.alone), ("beside the run", measured.beside)):
        lines.append(
            f"  saves {name:<15} {saves.count:>7,}  p50 {saves.p50_ms:>8,.1f} ms"
            f"  p99 {saves.p99_ms:>8,.1f} ms  max {saves.max_ms:>8,.1f} ms"
        )
    return "\n".join(lines)


BENCH: Final = Bench(name="saves", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
