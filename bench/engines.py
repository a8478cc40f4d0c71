"""Measure both engines: microseconds for one execution of start → search → LLM → end on echo.

For each target also what a bot takes: its workflow is read and converted, the draft checked and tried.

Beside them stands a loop that only counts, measured in the same moments: the ratio to it says more
about the code than the microseconds do, which are the machine's too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.parity.compare import Parity, compare
from worker.core.targets.convert import convert_checked, convert_text
from worker.core.targets.guide import GUIDE
from worker.core.targets.registry import TARGETS
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.providers.echo import Echo

EXECUTIONS: Final = 2_000
ROUNDS: Final = 15
LOOP: Final = 1_000

WORKFLOW: Final = {
    "nodes": [
        {"id": "start-1", "type": "start", "data": {}},
        {"id": "knowledge-1", "type": "knowledge", "data": {"documentIds": ["환불규정"]}},
        {"id": "llm-1", "type": "llm", "data": {"model": "gpt-4o-mini"}},
        {"id": "end-1", "type": "end", "data": {}},
    ],
    "edges": [
        {"source": "start-1", "target": "knowledge-1"},
        {"source": "knowledge-1", "target": "llm-1"},
        {"source": "llm-1", "target": "end-1"},
    ],
}
MESSAGE: Final = "환불은 언제 되나요?"


def parts() -> dict[str, Callable[[], object]]:
    """What is measured, by name; the loop first."""
    text, defaults, echo, clock = json.dumps(WORKFLOW).encode(), Defaults(), Echo(), time.monotonic
    graph = convert_text(text, defaults).graph
    workflow = v1.decode(text, defaults)
    one, other = v1_engine.prepare(workflow), GUIDE.decode(graph)
    traces = (
        v1_engine.execute(one, MESSAGE, echo, clock=clock),
        v2_engine.execute(other, MESSAGE, echo, clock=clock),
    )
    return {
        "loop": _loop,
        "V1: execute": lambda: v1_engine.execute(one, MESSAGE, echo, clock=clock),
        "V2: execute": lambda: v2_engine.execute(other, MESSAGE, echo, clock=clock),
        "V1: prepare": lambda: v1_engine.prepare(workflow),
        "V2: decode": lambda: GUIDE.decode(graph),
        "compare": lambda: compare(*traces),
        **{f"{name}: a bot": partial(_bot, text, target) for name, target in TARGETS.items()},
    }


def _bot(text: bytes, target: Target) -> Parity:
    """Convert a workflow for a target, and try the draft beside V1 on one message."""
    workflow = v1.decode(text, Defaults())
    program = target.prepare(convert_checked(workflow, target))
    echo, clock = Echo(), time.monotonic
    return compare(
        v1_engine.execute(v1_engine.prepare(workflow), MESSAGE, echo, clock=clock),
        v2_engine.execute(program, MESSAGE, echo, clock=clock),
    )


def measure(executions: int = EXECUTIONS, rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds each, the best of some rounds in which all take turns."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, part in parts().items():
            began = time.perf_counter()
            for _ in range(executions):
                part()
            spent = (time.perf_counter() - began) / executions * 1e6
            best[name] = min(spent, best.get(name, spent))
    return best


def _loop() -> int:
    total = 0
    for number in range(LOOP):
        total += number
    return total


def main(arguments: list[str] | None = None) -> int:
    """Print the microseconds and the ratios, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.engines", description=__doc__)
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    measured = measure(given.executions, given.rounds)
    if given.json:
        report: Any = {"us": measured, "loop_steps": LOOP}
        sys.stdout.write(json.dumps(report) + "\n")
        return 0
    loop = measured["loop"]
    sys.stdout.write(f"loop of {LOOP:,} additions: {loop:.1f} µs\n")
    for name, us in measured.items():
        if name != "loop":
            sys.stdout.write(f"  {name:<14}{us:>8.1f} µs  {us / loop:>6.2f} loops\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
