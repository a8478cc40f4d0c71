"""Measure flowshift end to end against a floor, in one run on one machine.

The floor is what PostgreSQL needs at the least: one connection, one transaction of statements that insert
the graphs of the same fleet, converted already, and one that fills the backups. It is measured with
statements of 20,000 graphs and of 500: the floor is the faster of the two. Every size is measured
on a fresh database; the floors are measured before and after flowshift, and the ratio is to their
mean, so that a machine that slows down or speeds up meanwhile does not decide the result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import sqlalchemy as sa

from bench.fleets import FLEETS
from bench.floor import load_fleet, measure_floors
from bench.measured import SLICES, Measured, report, slice_rates
from bench.peer import measure_peer
from bench.profile import batch_times
from bench.stored import ends_of_batches, table_sizes, wal_position
from bench.waiting import wait_for_workers
from migrations import upgrade
from tasks import start_run
from worker import log, runtime
from worker.db.tables import runs
from worker.processes.supervisor import Supervisor, worker_program
from worker.runtime import Runtime
from worker.servers import embedded
from worker.settings import Settings
from worker.steps.start import Request

WORKERS = 2
POLL_S = 0.05
POLLS = 1_000
"""A long run is asked how far it is this often, so that asking does not weigh: its end is off by 0.1 %."""

LOOK_S = 1.0
"""How often it is looked at what a process of its own does to the disk."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--validate", nargs="+", default=["none", "sample:1"])
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--fleets", nargs="+", choices=FLEETS, default=["sample"])
    parser.add_argument(
        "--peer",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the plain script, too (beside the first validation)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    given = parser.parse_args()
    log.configure(level="error")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    wanted = [
        Wanted(bots, validate, fleet, given.batch_size, given.peer and number == 0)
        for fleet in given.fleets
        for bots in given.sizes
        for number, validate in enumerate(given.validate)
    ]
    results = [_one_size(*wanted)] if len(wanted) == 1 else [in_a_process(one) for one in wanted]
    if given.json:
        print(json.dumps({"machine": _machine(), "results": msgspec.to_builtins(results)}))
    else:
        print(f"{report(results)}\n\nmachine: {json.dumps(_machine())}")
    return 0


class Wanted(msgspec.Struct, frozen=True):
    """What is measured in one process."""

    bots: int
    validate: str
    fleet: str = "sample"
    batch_size: int = 500
    with_peer: bool = False

    @property
    def command(self) -> list[str]:
        """The command that measures it, and prints JSON."""
        options = ["--sizes", str(self.bots), "--validate", self.validate, "--fleets", self.fleet]
        options += [
            "--batch-size",
            str(self.batch_size),
            "--peer" if self.with_peer else "--no-peer",
        ]
        return [sys.executable, "-m", "bench", "--json", *options]


def in_a_process(
    wanted: Wanted, look: Callable[[], None] = lambda: None, files: Path | None = None
) -> Measured:
    """Measure in a process of its own: a process has one database and one queue.

    `look` is called now and then meanwhile; what it raises ends the measurement, whose servers and
    files are gone then, as with a signal. `files` is where embedded servers have theirs.
    """
    environment = {**os.environ, **({} if files is None else {"TMPDIR": str(files)})}
    # In a group of its own, so that Ctrl-C ends it once, by our signal, and it can clean up.
    with subprocess.Popen(
        wanted.command, stdout=subprocess.PIPE, process_group=0, env=environment
    ) as process:
        try:
            said = _output(process, look)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, wanted.command)
    result = msgspec.convert(json.loads(said)["results"][0], Measured)
    sys.stderr.write(f"{_line(result)}\n")
    return result


def _output(process: subprocess.Popen[bytes], look: Callable[[], None]) -> bytes:
    """What a process prints in its end."""
    while True:
        look()
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=LOOK_S)[0]


def _one_size(wanted: Wanted) -> Measured:
    with _servers() as (database_url, redis_url, data_dir):
        settings = Settings(
            database_url=_fresh_database(database_url, f"bench_{os.getpid()}_{wanted.bots}"),
            redis_url=redis_url,
            namespace=f"bench-{os.getpid()}-{wanted.bots}",
            data_dir=str(data_dir),
            batch_size=wanted.batch_size,
            log_level="warning",
        )
        try:
            return _measure(settings, wanted)
        finally:
            runtime.shutdown()
            _drop_database(database_url, settings.database_url)


def _measure(settings: Settings, wanted: Wanted) -> Measured:
    current = runtime.configure(settings)
    upgrade.upgrade(current.engine)
    bots, validate, fleet = wanted.bots, wanted.validate, FLEETS[wanted.fleet]
    load_fleet(current.engine, bots, fleet)
    before = measure_floors(current.engine, fleet, large_first=True)
    peer = measure_peer(current.engine) if wanted.with_peer else None
    environment = {
        f"FLOWSHIFT_{name.upper()}": str(getattr(settings, name))
        for name in ("database_url", "redis_url", "namespace", "data_dir", "log_level")
    }
    program = worker_program(WORKERS, log_level="warning")
    program = msgspec.structs.replace(program, environment={**program.environment, **environment})
    log_dir = Path(settings.data_dir) / "log"
    with Supervisor([program], shutdown_s=settings.shutdown_s, log_dir=log_dir) as supervisor:
        wait_for_workers(log_dir)
        with _PeakMemory(supervisor.pids) as peak:
            wal = wal_position(current.engine)
            seconds, run_id = _run(current, validate)
            wal = wal_position(current.engine) - wal
            sizes = table_sizes(current.engine)
            again_s, again_id = _run(current, validate)
    with current.engine.connect() as connection:
        rates, again_rates = (
            slice_rates(*ends_of_batches(connection, one), SLICES) for one in (run_id, again_id)
        )
    parts = batch_times(current.engine, current.defaults, current.echo)
    after = measure_floors(current.engine, fleet, large_first=False)
    return Measured(
        bots=bots,
        fleet=wanted.fleet,
        validate=validate,
        large_floor_bots_per_s=2 * bots / (before.large_s + after.large_s),
        small_floor_bots_per_s=2 * bots / (before.small_s + after.small_s),
        flowshift_bots_per_s=bots / seconds,
        again_bots_per_s=bots / again_s,
        peer_bots_per_s=None if peer is None else bots / peer.seconds,
        slice_rates=rates,
        again_slice_rates=again_rates,
        peak_mb=peak.peak_mb,
        tables=sizes,
        wal_bytes_per_bot=wal / bots,
        parts_us_per_bot=parts,
    )


def _run(current: Runtime, validate: str) -> tuple[float, int]:
    """Seconds from asking for a run until it is over, and its number."""
    started = time.perf_counter()
    run = start_run(Request(validate=validate), requested_by="bench")
    is_over = sa.select(runs.c.finished_at.is_not(None)).where(runs.c.run_id == run.run_id)
    with current.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(is_over):
            time.sleep(max(POLL_S, (time.perf_counter() - started) / POLLS))
    return time.perf_counter() - started, run.run_id


class _PeakMemory:
    """The largest unique memory (USS) of each process of a tree while the block runs.

    USS counts what a process would give back if it ended: pages shared with its parent, and
    PostgreSQL's shared buffers, are not counted again for each process. A long block is looked at less
    often: reading the maps of three processes five times a second took 2 % of two cores.
    """

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.peak_mb: dict[str, float] = {}

    def _sample(self) -> None:
        started = time.perf_counter()
        while not self._ended.wait(min(2.0, 0.1 + (time.perf_counter() - started) / 10)):
            for name, pid in self._pids.items():
                try:
                    parent = psutil.Process(pid)
                    family = [(name, parent)]
                    family += [
                        (f"{name} child {n}", child)
                        for n, child in enumerate(sorted(parent.children(), key=lambda p: p.pid), 1)
                    ]
                    for label, process in family:
                        used = process.memory_full_info().uss / 2**20
                        self.peak_mb[label] = max(used, self.peak_mb.get(label, 0.0))
                except psutil.Error:
                    continue

    def __enter__(self) -> _PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def _servers() -> Iterator[tuple[str, str, Path]]:
    """The servers of the settings, or embedded ones in a temporary directory."""
    path = Path(tempfile.mkdtemp(prefix="flowshift-bench-"))
    path.chmod(0o711)
    database_url = os.environ.pop("FLOWSHIFT_DATABASE_URL", "")
    redis_url = os.environ.pop("FLOWSHIFT_REDIS_URL", "")
    try:
        if database_url and redis_url:
            yield database_url, redis_url, path
            return
        with embedded.attach(path) as attachment:
            started = attachment.endpoints
            yield database_url or started.database_url, redis_url or started.redis_url, path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _admin(database_url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(database_url, autocommit=True)


def _fresh_database(database_url: str, name: str) -> str:
    with _admin(database_url) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    return sa.make_url(database_url).set(database=name).render_as_string(hide_password=False)


def _drop_database(database_url: str, url: str) -> None:
    with _admin(database_url) as connection:
        connection.execute(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)".encode())


def _machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        )
        if Path("/proc/cpuinfo").exists()
        else iter(()),
        platform.processor(),
    )
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()}",
    }


def _line(one: Measured) -> str:
    return (
        f"{one.bots:>9,} bots ({one.fleet}), validate {one.validate:<9} "
        f"floor {one.floor_bots_per_s:>8,.0f}/s  flowshift {one.flowshift_bots_per_s:>8,.0f}/s  "
        f"ratio {one.ratio:.2f}  again (unchanged) {one.again_bots_per_s:>8,.0f}/s"
    )


if __name__ == "__main__":
    sys.exit(main())
