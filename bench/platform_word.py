"""Measure what asking a platform's own word costs: microseconds a bot, beside deciding without it.

Two are measured: the time that passes, and the processor time of the worker's own process, which other
processes of a busy machine change little.

The program answers every check with `[]` and every execution from a table, so that what is measured is
the protocol and the pipes. The platform's own time comes on top, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from worker import log
from worker.core.parity.messages import BUILT_IN, Trials
from worker.core.parity.trial import Equipment
from worker.core.parity.word import Check
from worker.core.targets.convert import convert_text
from worker.core.targets.registry import DEFAULT
from worker.core.workflow.config import Defaults
from worker.db.bots import BotRow
from worker.db.row_ids import Source
from worker.nodes import installed
from worker.platform.platform import Platform
from worker.providers.echo import Echo
from worker.sample import SMALLEST, sample_bots
from worker.settings import Settings
from worker.steps.batch.decide import Asked, Decided, decide_each, heard
from worker.steps.batch.trial import Trial

BOTS: Final = 2_000
ROUNDS: Final = 5

PROGRAM: Final = """\
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    said = {"id": asked["id"], "ops": ["check", "execute"], "messages": [], "answer": ""}
    if asked["op"] == "execute":
        results = asked["results"]
        last = [one for one in results if one["kind"] == "llm"][:1]
        said["answer"] = last[0]["response"] if last else ""
        said["calls"] = results
    print(json.dumps(said), flush=True)
"""


class Bench:
    """Bots, and the ways to decide on them; `close` ends the programs."""

    def __init__(self, count: int) -> None:
        self.rows = [
            BotRow(one.bot_id, False, one.workflow, len(one.workflow or b""), False, False)
            for one in sample_bots(count)
            if one.workflow and not one.uses_v2
        ]
        command = f"\"{sys.executable}\" -I -S -c '{PROGRAM}'"
        probe = convert_text(SMALLEST, Defaults()).graph
        self._check = _opened(Settings(platform_check=command), probe)
        self._both = _opened(Settings(platform_check=command, platform_engine=command), probe)
        self._registry = installed(DEFAULT)

    def parts(self) -> dict[str, Callable[[], object]]:
        """What is measured, by name; that without a word first."""
        return {
            "no word": lambda: list(self._decided(None)),
            "validator": lambda: list(heard(self._decided(self._check), self._check)),
            "validator, one bot at a time": self._one_at_a_time,
            "validator and engine": self.both,
        }

    def both(self) -> list[Decided]:
        """Every bot, with both asked."""
        return list(heard(self._decided(self._both), self._both))

    def _decided(self, platform: Platform | None) -> Iterator[Decided]:
        echo = Echo()
        equipment = Equipment(
            lambda: (echo, echo), time.perf_counter, self._registry, platform=platform
        )
        trial = Trial(Source("bench"), Trials(BUILT_IN, 1), equipment)
        return decide_each(self.rows, Defaults(), trial, Asked(), equipment)

    def _one_at_a_time(self) -> None:
        for one in self._decided(self._check):
            list(heard([one], self._check))

    def close(self) -> None:
        """End the programs."""
        self._check.close()
        self._both.close()


def _opened(settings: Settings, probe: bytes) -> Platform:
    platform = Platform.of(settings, probe=probe)
    assert platform is not None
    list(platform.answers([(0, (Check(probe),))]))
    return platform


def measure(count: int = BOTS, rounds: int = ROUNDS) -> dict[str, tuple[float, float]]:
    """Microseconds a bot, passed and of our processor, the best of rounds in which all take turns."""
    bench, best = Bench(count), dict[str, tuple[float, float]]()
    try:
        for _ in range(rounds):
            for name, part in bench.parts().items():
                began, worked = time.perf_counter(), time.process_time()
                part()
                passed, used = time.perf_counter() - began, time.process_time() - worked
                us = (passed / len(bench.rows) * 1e6, used / len(bench.rows) * 1e6)
                before = best.get(name, us)
                best[name] = (min(us[0], before[0]), min(us[1], before[1]))
    finally:
        bench.close()
    return best


def main(arguments: list[str] | None = None) -> int:
    """Print the microseconds and the ratios, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.platform_word", description=__doc__)
    parser.add_argument("--bots", type=int, default=BOTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    log.configure(log_format="auto", level="warning")
    measured = measure(given.bots, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps({"us": measured}) + "\n")
        return 0
    passed, used = measured["no word"]
    for name, us in measured.items():
        ratios = f"{us[0] / passed:>6.2f} {us[1] / used:>6.2f}"
        sys.stdout.write(f"{name:<30}{us[0]:>8.1f} µs passed {us[1]:>8.1f} µs used {ratios}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
