"""Flower stops when it is asked to, also where its own handler is of no effect."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import signal, time
from worker.processes.flower import stop_in_time

def swallow(number, frame):
    print("asked", flush=True)

signal.signal(signal.SIGTERM, swallow)
stop_in_time(1)
signal.raise_signal(signal.SIGTERM)
while True:
    time.sleep(0.05)
"""


def test_what_swallows_the_order_to_stop_does_not_keep_flower_alive() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=False, capture_output=True, text=True, timeout=60
    )

    assert ended.stdout == "asked\n"
    assert ended.returncode == -signal.SIGALRM
