"""Measure flowshift end to end against a floor, in one run on one machine.

The floor is what PostgreSQL needs at the least: one connection, one statement that inserts the
graphs of the same fleet, converted already, and one that fills the backups. Every size is measured
on a fresh database; the floor is measured before and after flowshift, and the ratio is to their
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import psycopg
import sqlalchemy as sa

from bench.floor import load_fleet, measure_floor
from bench.profile import batch_times
from migrations import upgrade
from tasks import start_run
from worker import log, runtime
from worker.app import app
from worker.db import run_progress
from worker.processes.supervisor import Supervisor, worker_program
from worker.runtime import Runtime
from worker.servers import embedded
from worker.settings import Settings
from worker.steps.start import Request

WORKERS = 2
POLL_S = 0.05


class Measured(msgspec.Struct):
    """One size of fleet."""

    bots: int
    validate: str
    floor_bots_per_s: float
    flowshift_bots_per_s: float
    ratio: float
    again_bots_per_s: float
    peak_mb: dict[str, float]
    parts_us_per_bot: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--validate", nargs="+", default=["none", "sample:1"])
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    log.configure(level="error")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    wanted = [(bots, validate) for bots in arguments.sizes for validate in arguments.validate]
    if len(wanted) == 1:
        results = [_one_size(*wanted[0], arguments.batch_size)]
        if not arguments.json:
            print(_line(results[0]), flush=True)
    else:
        results = [_in_a_process(*one, arguments) for one in wanted]
    if arguments.json:
        print(json.dumps({"machine": _machine(), "results": msgspec.to_builtins(results)}))
    else:
        print(_report(results))
    return 0


def _in_a_process(bots: int, validate: str, arguments: argparse.Namespace) -> Measured:
    """Measure one size in a process of its own: a process has one database and one queue."""
    command = [sys.executable, "-m", "bench", "--json", "--sizes", str(bots)]
    command += ["--validate", validate]
    command += ["--batch-size", str(arguments.batch_size)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result = msgspec.convert(json.loads(ended.stdout)["results"][0], Measured)
    if not arguments.json:
        print(_line(result), flush=True)
    return result


def _one_size(bots: int, validate: str, batch_size: int) -> Measured:
    with _servers() as (database_url, redis_url, data_dir):
        settings = Settings(
            database_url=_fresh_database(database_url, f"bench_{os.getpid()}_{bots}"),
            redis_url=redis_url,
            namespace=f"bench-{os.getpid()}-{bots}",
            data_dir=str(data_dir),
            batch_size=batch_size,
            log_level="warning",
        )
        try:
            return _measure(settings, bots, validate)
        finally:
            runtime.shutdown()
            _drop_database(database_url, settings.database_url)


def _measure(settings: Settings, bots: int, validate: str) -> Measured:
    current = runtime.configure(settings)
    upgrade.upgrade(current.engine)
    load_fleet(current.engine, bots)
    before = measure_floor(current.engine)
    environment = {
        f"FLOWSHIFT_{name.upper()}": str(getattr(settings, name))
        for name in ("database_url", "redis_url", "namespace", "data_dir", "log_level")
    }
    program = worker_program(WORKERS, log_level="warning")
    program = msgspec.structs.replace(program, environment={**program.environment, **environment})
    with Supervisor(
        [program], shutdown_s=settings.shutdown_s, log_dir=Path(settings.data_dir) / "log"
    ) as supervisor:
        _wait_for_worker()
        with _PeakMemory(supervisor.pids) as peak:
            seconds, run_id = _run(current, validate)
            again_s, _ = _run(current, validate)
    parts = batch_times(current.engine, current.defaults, current.echo)
    after = measure_floor(current.engine)
    floor = (before + after) / 2
    assert run_id
    return Measured(
        bots=bots,
        validate=validate,
        floor_bots_per_s=bots / floor,
        flowshift_bots_per_s=bots / seconds,
        ratio=floor / seconds,
        again_bots_per_s=bots / again_s,
        peak_mb=peak.peak_mb,
        parts_us_per_bot=parts,
    )


def _run(current: Runtime, validate: str) -> tuple[float, int]:
    """Seconds from asking for a run until it is over."""
    started = time.perf_counter()
    run = start_run(Request(validate=validate), requested_by="bench")
    while True:
        with current.engine.connect() as connection:
            progress = run_progress.read(connection, run.run_id)
        if progress is not None and progress.is_over:
            return time.perf_counter() - started, run.run_id
        time.sleep(POLL_S)


def _wait_for_worker() -> None:
    while not app.control.ping(timeout=0.5):
        pass


class _PeakMemory:
    """The largest unique memory (USS) of each process of a tree while the block runs.

    USS counts what a process would give back if it ended: pages shared with its parent, and
    PostgreSQL's shared buffers, are not counted again for each process.
    """

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.peak_mb: dict[str, float] = {}

    def _sample(self) -> None:
        while not self._ended.wait(0.2):
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


def _line(result: Measured) -> str:
    return (
        f"{result.bots:>9,} bots, validate {result.validate:<9} floor {result.floor_bots_per_s:>8,.0f}/s  "
        f"flowshift {result.flowshift_bots_per_s:>8,.0f}/s  ratio {result.ratio:.2f}  "
        f"again (unchanged) {result.again_bots_per_s:>8,.0f}/s"
    )


def _report(results: list[Measured]) -> str:
    lines = ["", "peak memory, MB (USS)"]
    for result in results:
        memory = ", ".join(f"{name} {mb:.0f}" for name, mb in sorted(result.peak_mb.items()))
        lines.append(f"{result.bots:>9,} bots, validate {result.validate:<9} {memory}")
    lines += ["", "where the time goes, µs per bot of one batch, alone on the machine"]
    for name, us in results[-1].parts_us_per_bot.items():
        lines.append(f"  {name:<34}{us:>8.1f}")
    lines += ["", f"machine: {json.dumps(_machine())}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
