"""`make chaos SEED=1 MINUTES=5`: runs under random faults, and what must hold after each.

What is done, and at which batch of a run, is drawn from the seed and the number of the round alone:
`--seed 1 --round 7` does round 7 of seed 1 again, over a new fleet. How far apart things happen in
time is up to the machine. Exit code 1 where something did not hold, 2 where a round did not end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.rounds import Stage, play
from tests.invariants import processes_left
from worker import log


def main() -> int:
    """Play rounds until the time is up; the first violation ends it."""
    arguments = _arguments()
    log.configure(log_format="json", level="error")
    directory = Path(tempfile.mkdtemp(prefix="flowshift-chaos-"))
    directory.chmod(0o711)
    again = f"--seed {arguments.seed} --bots {arguments.bots}"
    failed = 0
    rounds = 0
    with Stage.set(directory, arguments.bots) as stage:
        until = time.monotonic() + arguments.minutes * 60
        number = arguments.round or 1
        while not failed and (rounds == 0 or (time.monotonic() < until and not arguments.round)):
            failed = play(stage, arguments.seed, number)
            again = f"--seed {arguments.seed} --bots {arguments.bots} --round {number}"
            number, rounds = number + 1, rounds + 1
    left = _left(stage.namespace)
    print(f"{'FAIL' if left else 'ok  '} no process is left behind {'; '.join(left)}".rstrip())
    if failed or left:
        print(f"\nnot everything held; logs in {directory}\nagain: python -m tests.chaos {again}")
        return failed or 1
    shutil.rmtree(directory, ignore_errors=True)
    print(f"\n{rounds} rounds of seed {arguments.seed}, and everything held")
    return 0


def _left(namespace: str) -> list[str]:
    """Processes that are there though everything was stopped half a minute ago."""
    until = time.monotonic() + 30
    while (left := processes_left(namespace)) and time.monotonic() < until:
        time.sleep(0.2)
    return left


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0, help="when no new round begins")
    parser.add_argument("--round", type=int, help="only this round of the seed")
    parser.add_argument("--bots", type=int, default=1_200, help="in each fleet, at least 100")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
