"""Measure a run with 1, 2 and 4 worker processes and with two worker machines; hold the model to that.

Prints what was measured, apart from what `bench.model` makes of it: the rate of each point as it was
and as the model says, then where the next bottleneck is with more processes, and what 100 million bots
take. The model's parameters are measured in the same run, with one process: processor time of workers
and servers, WAL, the disk, the planner, a claim, a reading of the progress.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import redis
import sqlalchemy as sa

from bench.__main__ import _run
from bench.floor import load_fleet
from bench.machines import by_network, machines, missing
from bench.main import Bench, Place, main
from bench.measured import table
from bench.model import US, Demands, Predicted, Site, fleet, predict, stations_of
from bench.stored import ends_of_batches, wal_position
from bench.waiting import wait_for_workers
from migrations import upgrade
from worker import runtime
from worker.core.policy.batch_ref import BatchRef
from worker.db import batches, run_progress, runs
from worker.processes.supervisor import Program, Supervisor, worker_program
from worker.progress.redis import SHARE
from worker.runtime import Runtime
from worker.settings import Settings

BOTS: Final = 20_000
BATCH: Final = 250
POINTS: Final = ((1, 1), (1, 2), (1, 4), (2, 1), (2, 2))
"""(machines, processes of each)."""

PROCESSES: Final = (8, 32, 128)
DATABASE_CORES: Final = (8, 32)
LARGEST: Final = 100_000_000
NETWORK_US: Final = 120 * 500 / 500
"""A bot's share of a batch's 120 ways to the servers and back, of half a millisecond each: assumed."""

DISK_TIMES: Final = 4.0
"""How much faster a database server's disk is than a virtual machine's: assumed."""

BLOCK: Final = 2**23


class Point(msgspec.Struct, frozen=True):
    """A measured rate."""

    machines: int
    processes: int
    bots_per_s: float
    others_cores: float
    """Processors that other programs, and the machine beneath this one, took meanwhile."""


class Measured(msgspec.Struct, frozen=True):
    """Everything that the bench says; `without` is why there are no points of two machines."""

    bots: int
    validate: str
    batch_size: int
    cores: int
    load: float
    demands: Demands
    points: Sequence[Point]
    without: str | None


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bots", type=int, default=BOTS)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--validate", default="sample:1")


def measure(given: argparse.Namespace, place: Place) -> Measured:
    load = os.getloadavg()[0]
    with place.settings("scaling") as defaults:
        settings = msgspec.structs.replace(defaults, batch_size=given.batch_size)
        current = runtime.configure(settings)
        upgrade.upgrade(current.engine)
        load_fleet(current.engine, given.bots)
        demands = _demands(current, given.validate, Path(place.data_dir))
        without = missing()
        points = []
        for count, processes in POINTS:
            if count == 1 or without is None:
                _forget(current.engine)
                points.append(_point(current, count, processes, given.validate))
    return Measured(
        bots=given.bots,
        validate=given.validate,
        batch_size=given.batch_size,
        cores=psutil.cpu_count() or 1,
        load=load,
        demands=demands,
        points=points,
        without=without,
    )


# -- points ----------------------------------------------------------------------------------------

_FORGET: Final = (
    "DELETE FROM workflow_execution_runs",
    "DELETE FROM bot_workflow_versions WHERE status = 'draft'",
    "DELETE FROM flowshift.proofs",
    "UPDATE bots SET legacy_workflow = NULL",
)


def _forget(engine: sa.Engine) -> None:
    """Take the database back to where no run has been, apart from ledger and history."""
    with engine.begin() as connection:
        for statement in _FORGET:
            connection.execute(sa.text(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in ("bots", "bot_workflow_versions", "workflow_execution_runs"):
            connection.execute(sa.text(f"VACUUM FULL ANALYZE {name}"))
        connection.execute(sa.text("CHECKPOINT"))


def _point(current: Runtime, count: int, processes: int, validate: str) -> Point:
    """What so many machines with so many processes each do."""
    with _workers(current.settings, count, processes) as supervisor:
        before, busy_s, began = _Spent.now(current, supervisor), _busy_s(), time.perf_counter()
        _, run_id = _run(current, validate)
        ours = _Spent.now(current, supervisor).since(before)
        others_s = _busy_s() - busy_s - ours.worker_s - ours.database_s - ours.redis_s
        others_cores = max(0.0, others_s / (time.perf_counter() - began))
    return Point(count, processes, _steady_rate(current.engine, run_id), others_cores)


def _busy_s() -> float:
    """Processor seconds of everything on this machine, and what the one beneath it took."""
    times = psutil.cpu_times()
    stolen = getattr(times, "steal", 0.0)
    return float(times.user + times.system + times.nice + stolen)


def _steady_rate(engine: sa.Engine, run_id: int) -> float:
    """The rate from the first claim to the last end: no planning, and no wait for the first message."""
    with engine.connect() as connection:
        began_s, ended = ends_of_batches(connection, run_id)
    return sum(bots for _, bots in ended) / (max(at_s for at_s, _ in ended) - began_s)


@contextmanager
def _workers(settings: Settings, count: int, processes: int) -> Iterator[Supervisor]:
    """Live workers, one on each machine; here, with one machine."""
    with ExitStack() as stack:
        urls = (settings.database_url, settings.redis_url)
        prefixes: list[tuple[str, ...]] = [()]
        if count > 1:
            prefixes = [one.prefix for one in stack.enter_context(machines(count))]
            urls = stack.enter_context(by_network(*urls))
        environment = _environment(settings, *urls)
        programs = [
            _program(f"worker-{number}", prefix, processes, environment)
            for number, prefix in enumerate(prefixes, 1)
        ]
        log_dir = Path(settings.data_dir) / "log"
        supervisor = stack.enter_context(
            Supervisor(programs, shutdown_s=settings.shutdown_s, log_dir=log_dir)
        )
        wait_for_workers(log_dir, count)
        yield supervisor


def _environment(settings: Settings, database_url: str, redis_url: str) -> dict[str, str]:
    names = ("namespace", "data_dir", "log_level", "batch_size")
    found = {f"FLOWSHIFT_{name.upper()}": str(getattr(settings, name)) for name in names}
    return {**found, "FLOWSHIFT_DATABASE_URL": database_url, "FLOWSHIFT_REDIS_URL": redis_url}


def _program(
    name: str, prefix: tuple[str, ...], processes: int, environment: Mapping[str, str]
) -> Program:
    program = worker_program(processes, name=name, log_level="error")
    return msgspec.structs.replace(
        program,
        command=(*prefix, *program.command),
        environment={**program.environment, **environment},
    )


# -- parameters ------------------------------------------------------------------------------------


def _demands(current: Runtime, validate: str, directory: Path) -> Demands:
    """What a bot takes, by a run with one process."""
    bots = _count(current.engine, "SELECT count(*) FROM bots")
    with _workers(current.settings, 1, 1) as supervisor:
        before = _Spent.now(current, supervisor)
        _, run_id = _run(current, validate)
        spent = _Spent.now(current, supervisor).since(before)
    with current.engine.connect() as connection:
        run = runs.get(connection, run_id)
        _, ended = ends_of_batches(connection, run_id)
    assert run is not None
    assert run.started_at is not None
    bytes_per_s, commit_s = _disk(directory)
    wal_bytes = spent.wal_bytes / bots
    return Demands(
        worker_us=spent.worker_s / bots * US,
        database_us=spent.database_s / bots * US,
        redis_us=spent.redis_s / bots * US,
        disk_us=(wal_bytes / bytes_per_s + commit_s * len(ended) / bots) * US,
        plan_us=(run.started_at - run.created_at).total_seconds() / bots * US,
        claim_us=_claim_s(current) / current.settings.batch_size * US,
        progress_row_us=_progress_row_s(current.engine, run_id) * US,
        polls_per_s=1_000 / current.settings.progress_interval_ms,
        poll_share=SHARE,
        wal_bytes=wal_bytes,
    )


class _Spent(msgspec.Struct, frozen=True):
    """Processor seconds by kind of process, and bytes of WAL, since some beginning."""

    worker_s: float
    database_s: float
    redis_s: float
    wal_bytes: int

    @classmethod
    def now(cls, current: Runtime, supervisor: Supervisor) -> _Spent:
        workers = [psutil.Process(pid) for pid in supervisor.pids.values()]
        with current.engine.connect() as connection:
            backend = connection.scalar(sa.text("SELECT pg_backend_pid()"))
            postmaster = psutil.Process(backend).parent()
        assert postmaster is not None
        with redis.Redis.from_url(current.settings.redis_url) as client:
            told: dict[str, Any] = client.info("cpu")
        return cls(
            worker_s=sum(_family_s(one) for one in workers),
            database_s=_family_s(postmaster),
            redis_s=told["used_cpu_user"] + told["used_cpu_sys"],
            wal_bytes=wal_position(current.engine),
        )

    def since(self, before: _Spent) -> _Spent:
        return _Spent(
            self.worker_s - before.worker_s,
            self.database_s - before.database_s,
            self.redis_s - before.redis_s,
            self.wal_bytes - before.wal_bytes,
        )


def _family_s(process: psutil.Process) -> float:
    """Processor seconds of a process and its children, those that ended included."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        if one == process:
            total += times.children_user + times.children_system
    return total


def _disk(directory: Path) -> tuple[float, float]:
    """Bytes a second that the disk takes in a row, and the seconds of one small synced write."""
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        block, count = os.urandom(BLOCK), 16
        began = time.perf_counter()
        for _ in range(count):
            file.write(block)
            file.flush()
            os.fdatasync(file.fileno())
        bytes_per_s = count * BLOCK / (time.perf_counter() - began)
        took = []
        for _ in range(50):
            file.seek(0)
            file.write(block[:8192])
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return bytes_per_s, sorted(took)[len(took) // 2]


def _claim_s(current: Runtime) -> float:
    """Seconds of a claim with its commit, one after another."""
    with current.engine.begin() as connection:
        run_id = connection.scalar(sa.text(_ANOTHER_RUN))
        connection.execute(sa.text(_PENDING), {"run_id": run_id, "count": 50})
    began = time.perf_counter()
    for number in range(1, 51):
        with current.engine.begin() as connection:
            claimed = batches.claim(
                connection, BatchRef(run_id, number), worker="bench", lease_s=60
            )
            assert claimed is not None
    took_s = (time.perf_counter() - began) / 50
    with current.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM flowshift.runs WHERE run_id = :r"), {"r": run_id})
    return took_s


_ANOTHER_RUN: Final = """
    INSERT INTO flowshift.runs (request_id, state, options, dry_run, requested_by, converter_version)
    VALUES ('bench', 'running', '{}', false, 'bench', '0') RETURNING run_id
"""
_PENDING: Final = """
    INSERT INTO flowshift.batches (run_id, number, through_bot_id, bot_count)
    SELECT :run_id, n, 'a', 500 FROM generate_series(1, :count) AS n
"""
_DONE: Final = """
    INSERT INTO flowshift.batches (run_id, number, through_bot_id, bot_count, state, finished_at, converted)
    SELECT :run_id, 1000000 + n, 'a', 500, 'done', now(), 500 FROM generate_series(1, :count) AS n
"""
ROWS: Final = 50_000


def _progress_row_s(engine: sa.Engine, run_id: int) -> float:
    """Seconds that each batch of a run adds to a reading of its progress."""
    with engine.connect() as connection:
        few_s = _reading_s(connection, run_id)
        connection.execute(sa.text(_DONE), {"run_id": run_id, "count": ROWS})
        many_s = _reading_s(connection, run_id)
        connection.rollback()
    return max(0.0, many_s - few_s) / ROWS


def _reading_s(connection: sa.Connection, run_id: int) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        run_progress.read(connection, run_id)
        took.append(time.perf_counter() - began)
    return min(took)


def _count(engine: sa.Engine, query: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(query)) or 0)


# -- report ----------------------------------------------------------------------------------------


def report(measured: Measured) -> str:
    """What was measured, then what is modelled, as docs/explanation/benchmark.md has them."""
    how = f"{measured.bots:,} bots, validate {measured.validate}, batches of {measured.batch_size}"
    where = f"{measured.cores} cores, load {measured.load:.1f} before"
    assumed = f"network {NETWORK_US:.0f} µs a bot, a disk {DISK_TIMES:g} times as fast"
    parts = [f"Measured: {how}, {where}", _parameters(measured.demands), _checked(measured)]
    if measured.without:
        parts.append(f"No two machines: {measured.without}.")
    parts += [f"Modelled: a core for each process; assumed: {assumed}", _forecast(measured)]
    return "\n\n".join(parts)


def _parameters(demands: Demands) -> str:
    rows = [
        ["processor time of the worker", f"{demands.worker_us:.0f} µs"],
        ["processor time of PostgreSQL", f"{demands.database_us:.0f} µs"],
        ["processor time of Redis", f"{demands.redis_us:.1f} µs"],
        ["WAL", f"{demands.wal_bytes / 1000:.1f} KB"],
        ["the disk, for WAL and commits", f"{demands.disk_us:.0f} µs"],
        ["planning", f"{demands.plan_us:.1f} µs"],
        ["a claim, where runs are limited", f"{demands.claim_us:.1f} µs"],
        ["a reading of progress, for each batch of the run", f"{demands.progress_row_us:.2f} µs"],
    ]
    return "\n".join(table(["of a bot", "takes"], rows))


def _checked(measured: Measured) -> str:
    site = Site(database_cores=None, worker_cores=measured.cores)
    stations = stations_of(measured.demands, site)
    rows = []
    for point in measured.points:
        said = predict(stations, point.machines * point.processes)
        rows.append(
            [
                f"{point.machines} × {point.processes}",
                f"{point.bots_per_s:,.0f}/s",
                f"{said.bots_per_s:,.0f}/s",
                f"{said.bots_per_s / point.bots_per_s - 1:+.0%}",
                said.busiest,
                f"{point.others_cores:.1f}",
            ]
        )
    heads = ["machines × processes", "measured", "modelled", "off", "busiest", "cores of others"]
    return "\n".join([*table(heads, rows), "", _OF_OTHERS])


_OF_OTHERS: Final = (
    "Where others take more than a tenth of a core, *off* says nothing of the model."
)


def _forecast(measured: Measured) -> str:
    rows = []
    for cores in DATABASE_CORES:
        for processes in PROCESSES:
            site = Site(database_cores=cores, disk_times=DISK_TIMES, network_us=NETWORK_US)
            said, seconds = fleet(measured.demands, site, processes, LARGEST)
            rows.append(_forecast_row(cores, processes, said, seconds))
    heads = ["database cores", "processes", "bots", "busiest", "of it used"]
    return "\n".join(table([*heads, f"{LARGEST / 10**6:,.0f} million bots"], rows))


def _forecast_row(cores: int, processes: int, said: Predicted, seconds: float) -> list[str]:
    return [
        str(cores),
        str(processes),
        f"{said.bots_per_s:,.0f}/s",
        said.busiest,
        f"{said.utilisation[said.busiest]:.0%}",
        f"{seconds / 3600:,.1f} h",
    ]


BENCH: Final = Bench(name="scaling", doc=__doc__, options=options, measure=measure, report=report)

if __name__ == "__main__":
    sys.exit(main(BENCH))
