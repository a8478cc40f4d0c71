"""What a process and its children take, as its heartbeat says it."""

from __future__ import annotations

import subprocess
import sys
import time

from worker.processes.usage import UsageMeter

MIB = 1 << 20
CHILD = (
    "import sys; kept = bytearray(b'x') * (64 << 20); print('ready', flush=True); sys.stdin.read()"
)


def test_memory_is_that_of_the_process_and_of_its_children() -> None:
    meter = UsageMeter()
    before = meter.look().memory_bytes
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        beside = meter.look().memory_bytes
        child.communicate()

    assert before is not None
    assert beside is not None
    assert before > 10 * MIB
    assert beside - before > 60 * MIB


def test_cores_are_those_in_use_since_the_look_before() -> None:
    now = [100.0]
    meter = UsageMeter(clock=lambda: now[0])
    assert meter.look().cpu_cores is None
    used_s = time.process_time()
    while time.process_time() - used_s < 0.3:
        sum(range(1_000))

    now[0] += 2.0
    cores = meter.look().cpu_cores
    now[0] += 2.0
    idle = meter.look().cpu_cores

    assert cores is not None
    assert idle is not None
    assert cores >= 0.12, "0.3 s of 2 s, to the system's hundredths"
    assert idle < cores
