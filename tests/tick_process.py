"""One tick of the gate in a process of its own, which is killed, or waits, at a step of it.

    python -m tests.tick_process --at STEP [--waits]

It ends by SIGKILL when it comes to the step; with `--waits` it says so, and goes on after a line of
input. Settings are those of the environment.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from tests.queues import TestQueue
from worker import log, runtime
from worker.core.policy.health import Verdict
from worker.db.publication import moves
from worker.steps.publication import decide, take_back
from worker.steps.publication import tick as ticking
from worker.steps.publication.look import look

STEPS: Final[dict[str, tuple[Any, str]]] = {
    "in the look": (ticking, "wave_in"),
    "after the look": (ticking, "decide"),
    "before its commit": (decide, "note"),
    "after its commit": (ticking, "take_back_wave"),
    "in the rollback": (take_back, "roll_back"),
    "after the rollback": (moves, "forget_gate_wave"),
    "before the messages": (ticking, "top_up"),
}
"""What a tick comes to, one after the other, and the function that it calls there."""


def main() -> int:
    """Tick once; prints what it said."""
    parser = argparse.ArgumentParser(prog="python -m tests.tick_process", description=__doc__)
    parser.add_argument("--at", choices=list(STEPS))
    parser.add_argument("--waits", action="store_true")
    given = parser.parse_args()
    if given.at is not None:
        module, name = STEPS[given.at]
        do = wait if given.waits else kill
        setattr(module, name, after(do, getattr(module, name)))
    log.configure(log_format="json", level="warning")
    current = runtime.configure()
    try:
        done = ticking.tick(current, TestQueue(), look, lambda: Verdict("go"), fresh_s=0.0)
    finally:
        runtime.shutdown()
    sys.stdout.write(ticking.said_of(done) + "\n")
    return 0


def after(do: Callable[[], None], real: Callable[..., Any]) -> Callable[..., Any]:
    """Do something, then what was called."""

    def called(*args: Any, **more: Any) -> Any:
        do()
        return real(*args, **more)

    return called


def kill() -> None:
    """End as `kill -9` ends a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait() -> None:
    """Say that this step is reached, and go on after a line."""
    sys.stdout.write("here\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    sys.exit(main())
