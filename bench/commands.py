"""How long a command takes to start: `--help`, against loading every command as `--help` once did.

python -m bench.commands
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15

_HELP = [sys.executable, "-m", "worker", "--help"]
_ALL = [
    sys.executable,
    "-c",
    (
        "import gc, importlib; gc.disable(); from worker.cli.commands import ENTRIES\n"
        "for entry in ENTRIES.values(): importlib.import_module("
        "'worker.cli.' + entry.path.partition(':')[0])\n"
        "gc.freeze()"
    ),
]


def main() -> None:
    """Print both medians and their ratio, from rounds that alternate."""
    rounds = [(_seconds(_HELP), _seconds(_ALL)) for _ in range(ROUNDS)]
    for_help, for_all = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"--help             {for_help * 1000:6.0f} ms")
    print(f"all commands       {for_all * 1000:6.0f} ms")
    print(f"ratio              {for_help / for_all:6.2f}")


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
