"""Measure a fleet of a million bots: converted; validated and recorded; each again, unchanged.

Says beforehand how much disk it takes at most, and gives it back. The floor is measured in the same
run. Besides the rates: how they change over the fleet, the peak memory of each process, and the size
of every table and index. Takes an hour or two on 2 cores; `--bots` takes fewer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.__main__ import Wanted, _machine, in_a_process
from bench.measured import Measured, report, table
from worker import log

BOTS: Final = 1_000_000
VALIDATIONS: Final = ("none", "sample:1")
OUTPUT: Final = Path("bench-million.json")

BYTES_A_BOT: Final = 30_000
"""Most disk for a bot: its rows with their indexes after two runs that record, and the floor's copies."""

FIXED_BYTES: Final = 4 * 10**9
"""Most disk that does not depend on the fleet: WAL (1 GB, and more for a while) and a new database."""

KEPT_FREE_BYTES: Final = 2 * 10**9
"""Less than this must never be free: the measurement ends before."""


class FullError(Exception):
    """The disk has less room than was said to be needed."""


class Disk:
    """The directory of embedded servers, looked at while they work."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self.directory = directory
        self.peak_bytes = 0
        self._most_bytes = most_bytes

    def refuse_if_small(self) -> None:
        """Refuse to begin.

        Raises:
            FullError: what may be needed is not free.
        """
        if free_bytes(self.directory) < self._most_bytes + KEPT_FREE_BYTES:
            free = _gb(free_bytes(self.directory))
            raise FullError(f"{free} are free there: set TMPDIR, or take fewer --bots")

    def look(self) -> None:
        """See that no more is in use than was said.

        Raises:
            FullError: more is, or hardly anything is free.
        """
        free, used = free_bytes(self.directory), used_bytes(self.directory)
        self.peak_bytes = max(self.peak_bytes, used)
        if free < KEPT_FREE_BYTES or used > self._most_bytes:
            raise FullError(f"{_gb(used)} are in use, and {_gb(free)} free: ended")


def free_bytes(directory: Path) -> int:
    """What the disk of a directory has room for."""
    return shutil.disk_usage(directory).free


def used_bytes(directory: Path) -> int:
    """What the files below a directory take; one that vanishes meanwhile takes nothing."""
    total = 0
    for path in directory.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory for embedded servers, deleted afterwards."""
    path = Path(tempfile.mkdtemp(prefix="flowshift-bench-million-"))
    path.chmod(0o711)  # PostgreSQL runs as an account of its own
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def most_bytes(bots: int) -> int:
    """The disk that a fleet takes at most."""
    return FIXED_BYTES + bots * BYTES_A_BOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the JSON, print Markdown; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=__doc__)
    parser.add_argument("--bots", type=int, default=BOTS)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the JSON, written anew")
    given = parser.parse_args(arguments)
    log.configure(level="error")
    _say(_announcement(given.bots))
    try:
        with _directory() as directory:
            outcome = _measure(given.bots, Disk(directory, most_bytes(given.bots)))
    except FullError as error:
        _say(f"error: {error}")
        return 1
    given.output.write_bytes(msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")
    sys.stdout.write(f"{markdown(outcome)}\n")
    _say(f"written: {given.output}")
    return 0


class Outcome(msgspec.Struct, frozen=True):
    """What is written."""

    machine: Mapping[str, Any]
    took_s: float
    disk_peak_bytes: int
    results: Sequence[Measured]


def _measure(bots: int, disk: Disk) -> Outcome:
    started = time.monotonic()
    if not _has_servers():
        disk.refuse_if_small()
    results = [
        in_a_process(Wanted(bots, validate), disk.look, disk.directory) for validate in VALIDATIONS
    ]
    return Outcome(_machine(), time.monotonic() - started, disk.peak_bytes, results)


def markdown(outcome: Outcome) -> str:
    """Everything, as docs/explanation/benchmark.md has it."""
    took = f"took {outcome.took_s:,.0f} s in all, {_gb(outcome.disk_peak_bytes)} of disk at most"
    machine = f"machine: {json.dumps(outcome.machine)}"
    return "\n\n".join([times(outcome.results), report(outcome.results), took, machine])


def times(results: Sequence[Measured]) -> str:
    """How long the fleet took, in the words of a person who waits for it."""
    rows = []
    for one in results:
        what = "converted" if one.validate == "none" else "converted, validated and recorded"
        for name, rate in (
            ("floor", one.floor_bots_per_s),
            (what, one.flowshift_bots_per_s),
            ("again, unchanged", one.again_bots_per_s),
        ):
            rows.append(
                [f"{name} (`{one.validate}`)", f"{one.bots / rate:,.0f} s", f"{rate:,.0f}/s"]
            )
    return "\n".join(table(["", "time", "bots"], rows))


def _announcement(bots: int) -> str:
    needs = f"{bots:,} bots take at most {_gb(most_bytes(bots))} of disk"
    if _has_servers():
        return (
            f"{needs} of the servers that FLOWSHIFT_DATABASE_URL names; all is dropped afterwards"
        )
    return f"{needs} in {tempfile.gettempdir()} (TMPDIR says where); all is deleted afterwards"


def _has_servers() -> bool:
    """Whether servers are given, whose disk is not ours to look at."""
    return bool(os.environ.get("FLOWSHIFT_DATABASE_URL"))


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 10**9:,.1f} GB"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped
    sys.exit(main())
