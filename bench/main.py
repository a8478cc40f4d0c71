"""What the benches' main functions share: options, servers, databases of their own, what is printed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from bench.__main__ import _drop_database, _fresh_database, _machine, _servers
from worker import log, runtime
from worker.servers.connect import Servers
from worker.settings import Settings


class Place(msgspec.Struct, frozen=True):
    """Servers, and a directory."""

    servers: Servers
    data_dir: str

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The URL of a new database, dropped afterwards."""
        url = _fresh_database(self.servers.database_url, f"bench_{name}_{os.getpid()}")
        try:
            yield url
        finally:
            _drop_database(self.servers.database_url, url)

    @contextmanager
    def settings(self, name: str) -> Iterator[Settings]:
        """Settings of a new database, for the runtime of this process."""
        with self.database(name) as url:
            try:
                yield Settings(
                    database_url=url,
                    redis_url=self.servers.redis_url,
                    namespace=f"bench-{name}-{os.getpid()}",
                    data_dir=self.data_dir,
                    log_level="error",
                )
            finally:
                runtime.shutdown()


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """A bench: its name and what it says of itself, its options, what it measures, and how that reads.

    `measure` gets the options and servers, and makes databases of its own there. What `passes` refuses
    makes the exit code 1.
    """

    name: str
    doc: str | None
    options: Callable[[argparse.ArgumentParser], None]
    measure: Callable[[argparse.Namespace, Place], msgspec.Struct]
    report: Callable[[Any], str]
    passes: Callable[[Any], bool] = lambda _: True


def main(bench: Bench, arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what came of it: for people, or with `--json` for programs."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{bench.name}", description=bench.doc)
    bench.options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    log.configure(level="error")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is dropped
    with _servers() as (database_url, redis_url, data_dir):
        measured = bench.measure(given, Place(Servers(database_url, redis_url), str(data_dir)))
    machine = _machine()
    if given.json:
        said = json.dumps({"machine": machine, "result": msgspec.to_builtins(measured)})
    else:
        said = f"{bench.report(measured)}\nmachine: {json.dumps(machine)}"
    sys.stdout.write(f"{said}\n")
    return 0 if bench.passes(measured) else 1
